package zfstest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

func testSnapshots(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 1000)
	b.snapshot("p@1")
	b.write("p", "f", 2000)
	b.snapshot("p@2")
	one, err := b.Sum(b.ctx, b.Name("p@1"))
	b.must(err)
	two, err := b.Sum(b.ctx, b.Name("p@2"))
	b.must(err)
	if one == two {
		t.Errorf("both hold %s", one)
	}
	b.equal("p@2", "p")
	b.is("again", b.Snapshot(b.ctx, []string{b.Name("p@2")}, nil), zfs.ErrExist)
}

func testSnapshotsAtOnce(t *testing.T, b bench) {
	b.create("p", "q")
	b.snapshot("q@1")
	b.is("one exists", b.Snapshot(b.ctx, []string{b.Name("p@1"), b.Name("q@1")}, nil), zfs.ErrExist)
	if got := b.names("p", 0); len(got) != 1 {
		t.Errorf("none should be made: %v", got)
	}
	b.is("two of one file system", b.Snapshot(b.ctx, []string{b.Name("p@2"), b.Name("p@3")}, nil), zfs.ErrInvalid)
}

func testHolds(t *testing.T, b bench) {
	b.create("p")
	b.snapshot("p@1")
	b.snapshot("p@2")
	one, two := b.Name("p@1"), b.Name("p@2")
	b.must(b.Hold(b.ctx, "a", one))
	b.must(b.Hold(b.ctx, "a", one, two))
	b.must(b.Hold(b.ctx, "b", one))
	b.is("of none", b.Hold(b.ctx, "a", b.Name("p@no")), zfs.ErrNotExist)
	found, err := b.Holds(b.ctx, one, two)
	b.must(err)
	got := map[string][]string{}
	for name, holds := range found {
		for _, h := range holds {
			got[name] = append(got[name], h.Tag)
		}
	}
	if diff := cmp.Diff(map[string][]string{one: {"a", "b"}, two: {"a"}}, got); diff != "" {
		t.Errorf("holds (-want +got):\n%s", diff)
	}
	if refs := b.get("p@1", "userrefs").Properties["userrefs"]; refs.Value != "2" {
		t.Errorf("userrefs: %+v", refs)
	}
	b.must(b.Release(b.ctx, "a", one, two))
	b.must(b.Release(b.ctx, "a", one, b.Name("p@no")))
	b.must(b.Release(b.ctx, "b", one))
	b.must(b.DestroySnapshots(b.ctx, []string{one, two}))
}

func testBookmarks(t *testing.T, b bench) {
	b.create("p", "q")
	b.snapshot("p@1")
	guid := b.get("p@1").GUID
	b.must(b.Bookmark(b.ctx, b.Name("p@1"), b.Name("p#m")))
	b.is("again", b.Bookmark(b.ctx, b.Name("p@1"), b.Name("p#m")), zfs.ErrExist)
	b.is("of none", b.Bookmark(b.ctx, b.Name("p@no"), b.Name("p#n")), zfs.ErrNotExist)
	b.is("of another file system", b.Bookmark(b.ctx, b.Name("p@1"), b.Name("q#m")), zfs.ErrInvalid)
	b.must(b.Destroy(b.ctx, b.Name("p@1")))
	if m := b.get("p#m"); m.GUID != guid {
		t.Errorf("bookmark %+v, want GUID %s", m, guid)
	}
	b.must(b.Bookmark(b.ctx, b.Name("p#m"), b.Name("p#n")))
	if n := b.get("p#n"); n.GUID != guid {
		t.Errorf("bookmark of a bookmark %+v, want GUID %s", n, guid)
	}
	b.must(b.Destroy(b.ctx, b.Name("p#m")))
	b.is("destroy again", b.Destroy(b.ctx, b.Name("p#m")), zfs.ErrNotExist)
	b.must(b.Destroy(b.ctx, b.Name("p"))) // bookmarks are not in the way
}

func testRollback(t *testing.T, b bench) {
	b.create("p")
	b.write("p", "f", 1000)
	b.snapshot("p@1")
	b.write("p", "g", 1000)
	b.must(b.Rollback(b.ctx, b.Name("p@1")))
	b.equal("p", "p@1")
	b.write("p", "h", 1000)
	b.snapshot("p@2")
	b.must(b.Bookmark(b.ctx, b.Name("p@2"), b.Name("p#m")))
	b.is("later snapshot", b.Rollback(b.ctx, b.Name("p@1")), zfs.ErrHasDependents)
	b.must(b.Destroy(b.ctx, b.Name("p@2")))
	b.is("later bookmark", b.Rollback(b.ctx, b.Name("p@1")), zfs.ErrHasDependents)
	b.must(b.Destroy(b.ctx, b.Name("p#m")))
	b.must(b.Rollback(b.ctx, b.Name("p@1")))
	b.equal("p", "p@1")
	b.is("to none", b.Rollback(b.ctx, b.Name("p@no")), zfs.ErrNotExist)
}

func testEncryption(t *testing.T, b bench) {
	locked := map[string]string{"encryption": "on", "keyformat": "raw", "keylocation": b.Key, "mountpoint": "none"}
	b.must(b.Create(b.ctx, b.Name("e"), zfs.CreateOptions{Properties: locked}))
	b.create("p", "e/c")
	b.write("p", "f", 1000)
	b.snapshot("p@1")
	if got := b.get("e/c", "encryption", "encryptionroot").Properties; got["encryption"].Value != "aes-256-gcm" || got["encryptionroot"].Value != b.Name("e") {
		t.Errorf("child: %+v", got)
	}
	if got := b.get("p", "encryption", "encryptionroot").Properties; got["encryption"].Value != "off" || got["encryptionroot"].Value != "" {
		t.Errorf("outside: %+v", got)
	}
	// A plain stream takes the encryption of where it lands; embedded blocks, which Large asks for, do not go there.
	b.must(b.receive("e/r", b.stream(zfs.SendSpec{Snapshot: b.Name("p@1")})))
	b.equal("p@1", "e/r@1")
	if got := b.get("e/r", "encryption", "encryptionroot").Properties; got["encryption"].Value != "aes-256-gcm" || got["encryptionroot"].Value != b.Name("e") {
		t.Errorf("received: %+v", got)
	}
	// A raw one brings its own.
	b.must(b.receive("raw", b.stream(zfs.SendSpec{Snapshot: b.Name("e/r@1"), Raw: true})))
	got := b.get("raw", "encryption", "encryptionroot").Properties
	if got["encryption"].Value != "aes-256-gcm" || got["encryptionroot"].Value != b.Name("raw") {
		t.Errorf("received raw: %+v", got)
	}
	b.is("set later", b.Set(b.ctx, b.Name("p"), map[string]string{"encryption": "on"}), zfs.ErrReadOnly, zfs.ErrInvalid)
}
