package storage

import (
	"cmp"
	"fmt"
	"strings"
)

// Status is what others need to know of the storage.
type Status struct {
	// Ready means that every volume is mounted and has its directories.
	Ready bool
	// Reason says in words what it waits for while not Ready.
	Reason string
	// StateMounted and DataMounted are set as soon as the volume can be used.
	StateMounted, DataMounted bool
	// StateUndecided says that there is no state volume yet, and that it is made when the configuration says how.
	StateUndecided bool
	// StateAwaits says what the state volume, which is encrypted, waits for from elsewhere before it can be opened: a key server, or a passphrase. It is
	// empty if for nothing. A configuration from elsewhere may bring it about.
	StateAwaits string
	// StateOpens says that the state volume, which is encrypted, is open, and mounted next: its file system may have to be checked before that.
	StateOpens bool
	// Volumes has an entry for each volume of the specification, in its order.
	Volumes []VolumeStatus
}

// VolumeStatus is the state of one volume.
type VolumeStatus struct {
	Name      string
	Device    string
	SizeBytes uint64
	Mounted   bool
	// Encrypted says that it is, or was begun to be made so; Enrolled that it has a recovery key.
	Encrypted, Enrolled bool
	// Unnoted says of the state volume, which is mounted, that the node has made another recovery key in the place of one that a person has, and nobody has noted it yet.
	Unnoted bool
	// By is what opens the state volume, if it is encrypted and that is known; Plain for the others.
	By Mode
	// Server is the key server by which the state volume opens, as that has it; zero where it is none, or cannot be told.
	Server KeyServer
	// Shut says that it is encrypted and not open, and that the node does not open it in this boot, or has tried and waits for something; a person may.
	Shut bool
	// Refused says that nothing is done for it, for the Reason.
	Refused bool
	// Known is false until this boot has looked at the volume; Clean says whether it was left clean by the boot before.
	Known, Clean bool
	// Reason says in words what it waits for, how it is otherwise than the configuration has it, or that a recovery key is Unnoted; empty when it can be used and nothing
	// is to be said of it.
	Reason string
}

// Status sums up an observation.
func (r *Reconciler) Status(spec Spec, obs Observed) Status {
	var s Status
	var waits []string
	for _, v := range spec.Volumes {
		state := obs.Volumes[v.Name]
		usable := state.Mounted && len(directoryOps(v, state)) == 0
		wait := waitsFor(v, state, usable, obs.Volumes[State].Mounted)
		plain := plainAgainst(v, state, obs.Volumes[State].encrypted())
		if plain != "" && obs.Volumes[State].encrypted() && refusal(v, state) == "" {
			wait = plain
		}
		s.Volumes = append(s.Volumes, VolumeStatus{
			Name: v.Name, Device: state.Partition.Device, SizeBytes: state.Partition.SizeBytes,
			Mounted: state.Mounted, Encrypted: state.encrypted(), Enrolled: state.Crypt.Enrolled, By: state.Crypt.By, Server: state.Crypt.Server,
			Unnoted: state.Mounted && state.Crypt.Unnoted,
			Shut:    state.encrypted() && !state.open() && (state.Crypt.Refused != "" || state.Crypt.Waits != ""),
			Refused: refusal(v, state) != "", Known: state.Recorded, Clean: state.RecordedClean, Reason: cmp.Or(wait, plain, remarks(v, state)),
		})
		switch {
		case v.Name == State:
			s.StateMounted, s.StateUndecided, s.StateAwaits = usable, undecided(v, state), awaits(v, state)
			s.StateOpens = state.encrypted() && state.open() && !state.Mounted && refusal(v, state) == ""
		case v.Name == Data:
			s.DataMounted = usable
		}
		if wait != "" {
			waits = append(waits, wait)
		}
	}
	s.Reason = strings.Join(waits, "; ")
	s.Ready = s.Reason == ""
	return s
}

// undecided says that a volume is blank, and left so until it is known how it is to be made.
func undecided(v Volume, s VolumeState) bool {
	return v.Encryption.Mode == Undecided && s.Contents.Signature != v.signature() && !s.encrypted() && refusal(v, s) == ""
}

// plainAgainst says that a volume is plain where the configuration would have it encrypted; empty if it is not so. Beside an encrypted state volume it counts as
// something to be waited for: somebody may have put it in the place of the true one, to have the node write to it. So it does, too, until the configuration is
// known, which is on that volume: what waits for the storage is not to begin in the moment between. A node whose state is plain too was made so, and goes on as it
// did.
func plainAgainst(v Volume, s VolumeState, besideEncrypted bool) string {
	_, contents := s.holder()
	plain := s.Found && !s.encrypted() && contents.Signature == v.signature()
	switch {
	case plain && v.Encryption.Mode.Encrypts():
		return fmt.Sprintf("volume %s is not encrypted, as the configuration has it, and holds data; a reset makes it anew", v.Name)
	case plain && v.Encryption.Mode == Undecided && besideEncrypted:
		return fmt.Sprintf("volume %s is not encrypted, as volume %s is: it is used when the configuration is known, if that has it so", v.Name, State)
	}
	return ""
}

// Unnoted is what is said of a node with a recovery key that waits to be noted.
const Unnoted = "the node has made another recovery key, which waits to be noted: the one before does not open all that this one does. `nodectl disk recovery-key` shows it, " +
	"and with --forget tells the node that it is noted; `nodectl disk rotate` is refused until then"

// remarks are what is to be said of a volume that can be used; empty if nothing is.
func remarks(v Volume, s VolumeState) string {
	var out []string
	if text := sealedOtherwise(v, s); text != "" {
		out = append(out, text)
	}
	if s.Mounted && s.Crypt.Unnoted {
		out = append(out, Unnoted)
	}
	return strings.Join(out, "; ")
}

// sealedOtherwise says that the state volume, which can be used, was sealed at another key server than the configuration has by now, or with other certificates: the next
// boot goes by what it was sealed with, which may be gone by then. It is empty where there is nothing to be said.
func sealedOtherwise(v Volume, s VolumeState) string {
	if v.Name != State || !s.Mounted || s.Crypt.By != KMS || v.Encryption.Mode != KMS || s.Crypt.Server == v.Encryption.Server {
		return ""
	}
	return fmt.Sprintf("volume %s was sealed at the key server %s, and the configuration has another one by now, or other certificates: "+
		"`nodectl disk reseal` has the next boot go by these", v.Name, cmp.Or(s.Crypt.Server.Endpoint, "of a token that cannot be read"))
}

// awaits says what an encrypted volume waits for from elsewhere; empty if for nothing.
func awaits(v Volume, s VolumeState) string {
	if !s.encrypted() || s.open() || refusal(v, s) != "" {
		return ""
	}
	return s.Crypt.Waits
}

// waitsFor says what a volume waits for; empty if for nothing. Keys says that the state volume is mounted.
func waitsFor(v Volume, s VolumeState, usable, keys bool) string {
	_, contents := s.holder()
	plain := !s.encrypted() && contents.Signature == v.signature()
	switch reason := refusal(v, s); {
	case reason != "":
		return reason
	case usable:
		return ""
	case v.Encryption.Held && !plain && !s.encrypted():
		return fmt.Sprintf("volume %s is made when the configuration is stored on volume %s", v.Name, State)
	case undecided(v, s):
		return fmt.Sprintf("volume %s is made when the configuration is known, which says whether it is encrypted", v.Name)
	case awaits(v, s) != "":
		return fmt.Sprintf("partition %s (%s) is encrypted and waits for its key: %s", v.Name, s.Partition.Device, awaits(v, s))
	case v.Name != State && !keys && !plain && (s.encrypted() || v.Encryption.Mode.Encrypts()):
		return fmt.Sprintf("volume %s has its key on volume %s, which is not mounted", v.Name, State)
	}
	return fmt.Sprintf("volume %s is not mounted yet%s", v.Name, before(v, s))
}

// before says what takes its time before a volume is mounted; empty if nothing does.
func before(v Volume, s VolumeState) string {
	_, c := s.holder()
	made := c.Signature == v.signature()
	switch {
	case s.Mounted || s.encrypted() && !s.open() || s.Pool.Imported:
		return ""
	case v.Pool != nil && (!made || c.Formatting):
		return ": its pool is made first"
	case v.Pool != nil && !c.Pool.Exported:
		return ": its pool was not left in order, and is imported first, which takes as long as the disk needs"
	case v.Pool != nil:
		return ""
	case !made:
		return ": its file system is made first"
	case !c.Clean && !c.Formatting:
		return ": its file system was not left clean, and is checked first, which takes as long as the disk needs"
	}
	return ""
}
