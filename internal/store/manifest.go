package store

// ListOwners returns the clients that have a document of a kind found by lookup.
func (tx *Tx) ListOwners(kind, lookup string) (clients []int64, err error) {
	err = tx.each(func(r row) error {
		var key int64
		err := r.Scan(&key)
		clients = append(clients, key)
		return err
	}, `select client from config where kind = $1 and lookup = $2 order by client`, kind, lookup)
	return clients, err
}
