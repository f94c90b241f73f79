// Package store owns every SQL statement, the transactions and the migrations,
// on SQLite and on PostgreSQL behind a private engine.
//
// It must not know what a command means: rules live in package tract, commands
// in package conversation. Statements are written once with $1 and must mean
// the same on both engines; what has to differ is a method of engine.
//
// Invariants: nothing is reported as done before its commit; a failed statement
// spoils its transaction on both engines; a watcher hears of a commit after it
// is durable, per thread in the order of commits.
package store
