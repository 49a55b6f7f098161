package machined

import (
	"fmt"
	"slices"

	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/storage"
)

// A node whose state volume is shut goes by the configuration of other places, and answers whom that, or an owner that they name, says: it could not be reached
// otherwise, nor could the key server which opens the volume. Whoever has the machine can put such a place to it. So nothing of that may hold when the volume opens,
// be it by a person, or by itself when its key server answers: from the very snapshot that has it mounted nothing is in force and nobody is answered, until the
// configuration on the volume is.
//
//	inTime ── the sources are asked without it ──► missed ── it comes, plain ──► inTime
//	   ▲                                              │
//	   │ the API answers by that                      │ it comes, and is encrypted
//	   └── decided ◄── its store says what counts ── reading
//
// What is not encrypted is anybody's anyway. A blank volume, which is made as a configuration of these places says, is in time.

// coming is whether, and how, the state volume came.
type coming int

// The states of coming; the drawing above says how they follow each other.
const (
	inTime coming = iota
	missed
	reading
	decided
)

// String is a word for tests and logs.
func (c coming) String() string { return [...]string{"in time", "missed", "reading", "decided"}[c] }

// yielded is the snapshot in which nothing counts any more that was found without the state volume, if that is there now and encrypted.
func (s snapshot) yielded() snapshot {
	if s.came != missed || !s.opened() {
		return s
	}
	s.came = reading
	s.input.Lost = s.input.Lost && s.input.Config == nil // what another has made of the network is not kept
	s.input.Config, s.input.Trust, s.input.Searched = nil, nil, false
	s.configProblem, s.owner, s.without = "", maintenance.Owner{}, false
	return s
}

// provisional says that what is in force was found without the state volume, which is encrypted and may open yet, or was not looked at.
func (s snapshot) provisional() bool {
	unseen := s.storage.Generation == 0 && len(s.storage.Status.Volumes) == 0
	return s.came == missed && (unseen || slices.ContainsFunc(s.storage.Status.Volumes, func(v storage.VolumeStatus) bool { return v.Name == storage.State && v.Encrypted }))
}

// opened says that the state volume is encrypted, and mounted.
func (s snapshot) opened() bool {
	for _, v := range s.storage.Status.Volumes {
		if v.Name == storage.State {
			return v.Encrypted && v.Mounted
		}
	}
	return false
}

// identityNow is what the API answers with. The snapshot is looked at first: when it says that the volume was read, what was found without it is replaced.
func (a *Agent) identityNow() server.Identity {
	s := a.snapshot()
	id := *a.identity.Load()
	if s.came == reading || s.came == decided {
		return server.Identity{Certificate: id.Certificate, Unconfigured: s.unconfigured()}
	}
	return id
}

// miss has the configuration looked for without the state volume, which may have one, and an agent before this one may have had that.
func (a *Agent) miss() {
	a.configs.late = true
	a.update(func(s *snapshot) { s.came, s.input.Lost = missed, true })
}

// lateStore opens the store of a state volume that came after the sources were asked. What is stored on it counts from now on.
func (a *Agent) lateStore() {
	c := &a.configs
	if !c.late || !mounted(a.snapshot(), storage.State) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.openStore() != nil {
		if a.snapshot().came == reading {
			a.lack(a.whyNone())
		}
		return
	}
	c.late = false
	if a.snapshot().came == missed { // it is not encrypted
		a.update(func(s *snapshot) { s.came = inTime })
	}
	if !a.takeStored() && c.found != nil {
		if a.snapshot().input.Config == nil {
			a.adopt(c.foundInput, nil, true)
		}
		a.keepFound(c.found)
	}
	a.update(func(s *snapshot) {
		if s.came == reading {
			s.came = decided
		}
	})
}

// presented ends the state decided when the API has the certificate and the clients of a snapshot in which it was. Who connected since the volume came is on a
// connection of no authority, on which nothing is answered any more: those are closed, also where the authority is the one that was found without the volume.
func (a *Agent) presented(of snapshot) {
	if of.came != decided {
		return
	}
	a.update(func(s *snapshot) {
		if s.came == decided {
			s.came = inTime
		}
	})
	if s := a.server.Load(); s != nil {
		s.AuthorityChanged()
	}
}

// since says that nothing of what a call may go by has changed since the state volume was as it was when the call began: what let the call in may have been found
// without the volume, and the call may have waited for a lock since.
func (a *Agent) since(began coming) error {
	if now := a.snapshot().came; now != began || now == reading || now == decided {
		return fmt.Errorf("%w: the state volume is open by now, and what is stored on it counts from now on: call again", server.ErrUnavailable)
	}
	return nil
}
