package store

// ShortLockTimeout makes this transaction give up waiting for locks at once; it
// does nothing where there are none to wait for.
func ShortLockTimeout(tx *Tx) error {
	if tx.s.Engine() != "postgres" {
		return nil
	}
	return tx.exec(`set local lock_timeout = '20ms'`)
}
