package web

// Inside is how many keys are held or waited for in this process.
func (i *Idempotency) Inside() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.gates)
}
