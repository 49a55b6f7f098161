// Package state keeps what the parts of machined know of each other: the reports of all domains, as one immutable, versioned snapshot.
//
// Writers replace the value whole; readers get the value they saw and can wait for the next. Nobody changes a value that was stored, so a
// snapshot may be read by any number of goroutines without a lock.
package state
