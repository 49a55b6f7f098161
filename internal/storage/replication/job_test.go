package replication

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func good() Job {
	return Job{
		ID: "11111111-2222-4333-8444-555555555555", Direction: Push, Roots: []Root{{"tank/a", "pool/b"}}, Initial: All,
		InitialGuarantee: Resumable, Guarantee: Incremental,
	}
}

func TestCheck(t *testing.T) {
	if err := good().Check(); err != nil {
		t.Errorf("good job: %v", err)
	}
	for want, change := range map[string]func(*Job){
		"want a UUID":             func(j *Job) { j.ID = "11111111-2222-4333-8444-55555555555A" },
		"there is none":           func(j *Job) { j.Roots = nil },
		"a name below a pool":     func(j *Job) { j.Roots[0].Target = "pool" },
		"overlap":                 func(j *Job) { j.Roots = append(j.Roots, Root{"tank/a/c", "pool/d"}) },
		"direction":               func(j *Job) { j.Direction = "sideways" },
		"initial:":                func(j *Job) { j.Initial = "" },
		"guarantee:":              func(j *Job) { j.Guarantee = "everything" },
		"initialGuarantee":        func(j *Job) { j.InitialGuarantee = "" },
		"raw goes with raw":       func(j *Job) { j.Stream.Raw = true },
		"an encrypted dataset":    func(j *Job) { j.Encryption, j.Stream.Large = EncryptionParent, true },
		"-1 is negative":          func(j *Job) { j.Steps = -1 },
		`encryption: "something"`: func(j *Job) { j.Encryption = "something" },
	} {
		j := good()
		change(&j)
		if err := j.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestTarget(t *testing.T) {
	j := good()
	for source, want := range map[string]string{"tank/a": "pool/b", "tank/a/x/y": "pool/b/x/y", "tank/ab": "", "tank": "", "": ""} {
		if got := j.Target(source); got != want {
			t.Errorf("target of %q: got %q, want %q", source, got, want)
		}
	}
	r := j.Reverse("66666666-7777-4888-9999-aaaaaaaaaaaa")
	if err := r.Check(); err != nil || r.Target("pool/b/x") != "tank/a/x" {
		t.Errorf("reverse: %+v, %v", r, err)
	}
}

func TestIncluded(t *testing.T) {
	j := good()
	j.Filter = []Rule{{"tank/a/x", false}, {"tank/a/x/y", true}, {"tank/a/x/y/z", false}}
	for source, want := range map[string]bool{
		"tank/a": true, "tank/a/x": false, "tank/a/xy": true, "tank/a/x/w": false, "tank/a/x/y": true, "tank/a/x/y/w": true, "tank/a/x/y/z/1": false,
	} {
		if got := j.included(source); got != want {
			t.Errorf("%s: got %t", source, got)
		}
	}
}

func TestFault(t *testing.T) {
	for _, c := range []struct {
		rule         Encryption
		cipher, root string
		fine         bool
	}{
		{"", "off", "", true}, {EncryptionOff, "aes-256-gcm", "a", false}, {EncryptionParent, "aes-256-gcm", "a", true},
		{EncryptionParent, "aes-256-gcm", "a/b", false}, {EncryptionParent, "off", "", false}, {EncryptionRaw, "aes-256-gcm", "a/b", true},
		{EncryptionRaw, "off", "", false}, {EncryptionAny, "off", "", true}, {EncryptionAny, "aes-256-gcm", "a/b", true},
	} {
		if got := c.rule.Fault("a/b", c.cipher, c.root); (got == "") != c.fine {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestReceived(t *testing.T) {
	f := FileSystem{Versions: []Version{
		{Name: "1", CreateTXG: 1}, {Name: "2", CreateTXG: 2, Last: true}, {Name: "3", CreateTXG: 3}, {Name: "m", CreateTXG: 4, Bookmark: true},
	}}
	if got := f.Received(); got.Name != "2" {
		t.Errorf("received last: %+v", got)
	}
	if got := f.Changed(); got == nil || got.Kind != Diverged || cmp.Diff([]string{"@3", "#m"}, got.Options[0].Destroys) != "" {
		t.Errorf("changed: %+v", got)
	}
	f.Versions[1].Last = false
	if got := f.Received(); got.Name != "3" {
		t.Errorf("without a hold: %+v", got)
	}
}

// FuzzParseCursor: what is a cursor's name is so in one way only.
func FuzzParseCursor(f *testing.F) {
	f.Add(CursorName(good().ID, 1<<63))
	f.Fuzz(func(t *testing.T, name string) {
		job, guid, ok := ParseCursor(name)
		if ok && CursorName(job, guid) != name {
			t.Errorf("%q is read as %q and %d, of which the name is another", name, job, guid)
		}
		if again, g, ok2 := ParseCursor(CursorName("j", zfs.GUID(len(name)))); !ok2 || again != "j" || int(g) != len(name) {
			t.Errorf("back and forth: %q %d", again, g)
		}
	})
}
