// Package tract owns the nouns and the rules of the switchboard: clients,
// threads, receivers, messages and events, and the thread state machine.
//
// Everything here is pure: no clock, no database, no network, standard library
// only. The state machine is [Decide]: a thread's state, a command and the
// settings give the new state with its log entries and effects, or a refusal.
//
// Invariants: a thread has exactly one owner once it has begun; each change of
// owner raises the control epoch by one; conversation numbers have no gaps;
// states change only along the table of docs/thread-control.md.
package tract
