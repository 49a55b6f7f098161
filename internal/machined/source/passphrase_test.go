package source_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/source"
)

const thePassphrase = "correct horse battery staple"

func passphraseDocument(text string) string {
	return "apiVersion: cyvive.dev/v1alpha1\nkind: DiskPassphrase\npassphrase: " + text + "\n"
}

// TestPassphrase: it lies beside a configuration, or in a place before it, and is no part of one. What Find saw last counts.
func TestPassphrase(t *testing.T) {
	volume, drive := &memory{name: "user-data"}, &memory{name: "drive"}
	s := source.New(source.Config{Sys: t.TempDir(), NoCloud: volume, ConfigDrive: drive})
	find := func(want string) machined.Passphrase {
		t.Helper()
		doc, err := s.Find(t.Context())
		if err != nil || (doc == nil) != (want == "") {
			t.Fatalf("got %+v, %v", doc, err)
		}
		if doc != nil && (!strings.Contains(string(doc.Data), want) || strings.Contains(string(doc.Data), "horse")) {
			t.Errorf("the configuration is %q", doc.Data)
		}
		return s.Passphrase()
	}
	if p := find(""); p != (machined.Passphrase{}) {
		t.Errorf("without one: %+v", p)
	}
	volume.Put([]byte(passphraseDocument(thePassphrase)))
	if p := find(""); p.From != "user-data" || p.Text.Reveal() != thePassphrase {
		t.Errorf("alone: %+v", p)
	}
	drive.Put([]byte(passphraseDocument("another passphrase, which does not count") + "---\n" + documents + "drive\n"))
	if p := find("drive"); p.From != "user-data" || p.Text.Reveal() != thePassphrase || strings.Contains(fmt.Sprintf("%v %+v", p, p), "horse") {
		t.Errorf("in two places: %+v", p)
	}
	volume.Put([]byte(passphraseDocument("short") + "---\n" + documents + "volume\n"))
	if p := find("volume"); p.From != "user-data" || !p.Text.IsZero() || !strings.Contains(p.Problem, "16 to 512 bytes") {
		t.Errorf("one that is none: %+v", p)
	}
	volume.Put([]byte(documents + "volume\n"))
	if p := find("volume"); p != (machined.Passphrase{}) {
		t.Errorf("gone again: %+v", p)
	}
}
