package source

import (
	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// Passphrase is what Find saw last of the passphrase of the machine's disk: the first that a place gives counts.
func (s *Sources) Passphrase() machined.Passphrase { return s.passphrase }

// takePassphrase notes the passphrase that documents give, and returns the others, nil if there are none.
func (s *Sources) takePassphrase(doc *machined.Document) *machined.Document {
	if doc == nil {
		return nil
	}
	text, rest, err := config.TakePassphrase(doc.Name, doc.Data)
	if p := (machined.Passphrase{From: doc.Name, Text: text}); s.passphrase.From == "" && (err != nil || !text.IsZero()) {
		if err != nil {
			p.Problem = err.Error()
		}
		s.passphrase = p
	}
	if rest == nil {
		return nil
	}
	return &machined.Document{Name: doc.Name, Data: rest}
}
