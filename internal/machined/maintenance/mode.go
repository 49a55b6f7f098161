package maintenance

// Mode is whom the node answers.
type Mode int

// The modes; the package comment draws how they follow each other.
const (
	// Starting: it is not known yet whether there is a configuration. Nobody is answered.
	Starting Mode = iota
	// Closed: there is no configuration, and it is not known whether there is an owner. Nobody is answered.
	Closed
	// Open: there is neither. Anybody is told what the node is.
	Open
	// Owned: there is an owner, and nobody else is answered.
	Owned
	// Configured: the configuration says who is answered.
	Configured
)

// String is a word for logs.
func (m Mode) String() string {
	return [...]string{"starting", "closed", "open", "owned", "configured"}[m]
}

// Maintenance tells whether the node is in maintenance mode.
func (m Mode) Maintenance() bool { return m == Closed || m == Open || m == Owned }

// Facts are what the mode follows from.
type Facts struct {
	// Configured: a configuration is in force.
	Configured bool
	// Without: every place was looked at for as long as they may take, and there is none.
	Without bool
	Owner   Owner
}

// Decide says whom the node answers.
func Decide(f Facts) Mode {
	switch {
	case f.Configured:
		return Configured
	case !f.Without:
		return Starting
	case !f.Owner.Key.IsZero():
		return Owned
	case f.Owner.Problem != "":
		return Closed
	default:
		return Open
	}
}
