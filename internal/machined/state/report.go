package state

// Report is what the loop of a domain publishes: before each operation, and after each pass.
type Report[Status any] struct {
	// Generation is that of the desired state which the pass worked on; 0 means that no pass was made yet.
	Generation uint64
	// Satisfied says that an observation after the last operation matched the desired state.
	Satisfied bool
	// Status is that of the last observation. It is the zero value while none succeeded.
	Status Status
	// Held says, in words for a person, what the domain waits for while it has no specification.
	Held string
	// Doing is the operation that is being carried out; empty between passes.
	Doing string
	// Problem is the text of the error that ended the pass, empty if none did. The loop tries again by itself; while it does so with what has failed, Doing is
	// that, and Problem and Tried are those of the pass before.
	Problem string
	// Tried says of a pass with a Problem that it has observed, and has tried all operations but those behind one that failed on the same part of the machine
	// (reconcile.Parted): Status is of that pass, and what is not reached cannot be now.
	Tried bool
}

// Waits says in words what stands between the domain and its desired state: the reason it is held back, its last error or what it is
// doing. It is empty if nothing does, or if only Status knows.
func (r Report[Status]) Waits() string {
	switch {
	case r.Held != "":
		return r.Held
	case r.Problem != "":
		return r.Problem
	}
	return r.Doing
}
