package store

// The queries of ListEntries, ListRecentEntries and ListRecentMessages.
const (
	ListEntries    = listEntries
	RecentEntries  = recentEntries
	RecentMessages = recentMessages
)

// PretendNewer makes the store look as if a later version had written it.
func PretendNewer(tx *Tx) error {
	if tx.s.Engine() == "postgres" {
		return tx.exec(`insert into goose_db_version (version_id, is_applied) values (9999, true)`)
	}
	return tx.exec(`insert into goose_db_version (version_id, is_applied) values (9999, 1)`)
}

// CountRows counts the rows of a table; -1 when that fails.
func CountRows(tx *Tx, table string) int64 {
	n := int64(-1)
	_, _ = tx.one([]any{&n}, `select count(*) from `+table)
	return n
}
