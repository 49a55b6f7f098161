package zfstest

import (
	"bytes"
	"testing"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// many writes enough that a cut stream leaves something.
func (b bench) many(name string) {
	b.t.Helper()
	for _, file := range []string{"a", "b", "c", "d"} {
		b.write(name, file, 1<<20)
	}
}

// part receives the first part of a stream, and keeps it.
func (b bench) part(name string, data []byte) {
	b.t.Helper()
	err := b.Receive(b.ctx, zfs.ReceiveSpec{Name: b.Name("%s", name), Resumable: true}, bytes.NewReader(data[:len(data)*3/4]))
	b.is("receive of a cut stream", err, zfs.ErrBadStream)
}

// token is the resume token of a partial receive.
func (b bench) token(name string) string {
	b.t.Helper()
	token := b.get(name, "receive_resume_token").Properties["receive_resume_token"].Value
	if len(token) < 10 {
		b.t.Fatalf("%s has the token %q", name, token)
	}
	return token
}

// goOn resumes a receive.
func (b bench) goOn(name string) {
	b.t.Helper()
	rest := b.stream(zfs.SendSpec{ResumeToken: b.token(name)})
	b.must(b.Receive(b.ctx, zfs.ReceiveSpec{Name: b.Name("%s", name), Resumable: true}, bytes.NewReader(rest)))
}

func testResumeFull(t *testing.T, b bench) {
	b.create("p")
	b.many("p")
	b.snapshot("p@1")
	full := b.of("p@1", "")
	b.part("r", full)
	if got := b.names("r", 0); len(got) != 1 {
		t.Errorf("a partial receive has %v", got)
	}
	token, err := b.Token(b.ctx, b.token("r"))
	b.must(err)
	if token.To != b.get("p@1").GUID || token.From != 0 || token.BytesReceived < 1<<20 || token.ToName != b.Name("p@1") || !token.Large {
		t.Errorf("token: %+v", token)
	}
	rest := b.stream(zfs.SendSpec{ResumeToken: b.token("r")})
	if len(rest) >= len(full) {
		t.Errorf("the rest has %d bytes, the whole %d", len(rest), len(full))
	}
	b.goOn("r")
	b.equal("p@1", "r@1")
	if token := b.get("r", "receive_resume_token").Properties["receive_resume_token"].Value; len(token) >= 10 {
		t.Errorf("afterwards it has the token %q", token)
	}
}

func testResumeIncremental(_ *testing.T, b bench) {
	b.create("p")
	b.snapshot("p@1")
	b.many("p")
	b.snapshot("p@2")
	b.must(b.receive("r", b.of("p@1", "")))
	b.part("r", b.of("p@2", "p@1"))
	b.is("destroy the base", b.Destroy(b.ctx, b.Name("r@1")), zfs.ErrHasDependents)
	// The base may be gone on the sending side, if there is a bookmark of it.
	b.must(b.Bookmark(b.ctx, b.Name("p@1"), b.Name("p#m")))
	b.must(b.Destroy(b.ctx, b.Name("p@1")))
	b.goOn("r")
	b.equal("p@2", "r@2")
}

func testResumeRefused(_ *testing.T, b bench) {
	b.create("p", "q")
	b.many("p")
	b.many("q")
	b.snapshot("p@1", "q@1")
	b.part("r", b.of("p@1", ""))
	b.part("s", b.of("q@1", ""))
	for _, token := range []string{"", "1-2-3-4", "nonsense"} {
		_, err := b.Token(b.ctx, token)
		b.is("token "+token, err, zfs.ErrBadToken)
	}
	other := b.stream(zfs.SendSpec{ResumeToken: b.token("s")})
	again := zfs.ReceiveSpec{Name: b.Name("r"), Resumable: true}
	b.is("another's rest", b.Receive(b.ctx, again, bytes.NewReader(other)), zfs.ErrBadStream)
	b.is("from the beginning", b.receive("r", b.of("p@1", "")), zfs.ErrExist, zfs.ErrPartial)
	b.is("a rest of nothing", b.Receive(b.ctx, zfs.ReceiveSpec{Name: b.Name("none")}, bytes.NewReader(other)), zfs.ErrNotExist)
	token := b.token("r")
	b.must(b.Destroy(b.ctx, b.Name("p@1")))
	b.is("snapshot is gone", second(b.read(zfs.SendSpec{ResumeToken: token})), zfs.ErrBadToken)
	b.snapshot("p@1")
	b.is("snapshot is another", second(b.read(zfs.SendSpec{ResumeToken: token})), zfs.ErrBadToken)
}

func testAbort(t *testing.T, b bench) {
	b.create("p")
	b.many("p")
	b.snapshot("p@1")
	b.part("r", b.of("p@1", ""))
	b.must(b.AbortReceive(b.ctx, b.Name("r")))
	_, err := b.List(b.ctx, zfs.Query{Roots: []string{b.Name("r")}, Kinds: []zfs.Kind{zfs.Filesystem}})
	b.is("after an abort", err, zfs.ErrNotExist)
	b.is("abort nothing", b.AbortReceive(b.ctx, b.Name("p")), zfs.ErrNotExist)
	b.must(b.receive("r", b.of("p@1", "")))
	b.many("p")
	b.write("p", "e", 1<<20)
	b.snapshot("p@2")
	b.part("r", b.of("p@2", "p@1"))
	b.is("another stream", b.receive("r", b.of("p@2", "p@1")), zfs.ErrPartial)
	b.must(b.AbortReceive(b.ctx, b.Name("r")))
	if got := b.names("r", 0); len(got) != 2 {
		t.Errorf("after an abort there is %v", got)
	}
	b.must(b.receive("r", b.of("p@2", "p@1")))
	b.equal("p@2", "r@2")
}

func testResumeAfterRename(_ *testing.T, b bench) {
	b.create("p", "q")
	b.many("p")
	b.snapshot("p@1")
	b.part("r", b.of("p@1", ""))
	b.must(b.Rename(b.ctx, b.Name("p"), b.Name("q/p")))
	b.goOn("r")
	b.equal("q/p@1", "r@1")
}
