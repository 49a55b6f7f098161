package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/siderolabs/go-blockdevice/v2/partitioning/gpt"

	"github.com/cyvive/cyvive/internal/storage/notes"
)

func TestInstall(t *testing.T) {
	w := newWorld(t, newSimDisk(testDiskBytes))
	planned, err := w.Plan(t.Context(), request(), w.source)
	if err != nil {
		t.Fatal(err)
	}
	if w.opened+w.disk.writes > 0 {
		t.Error("a plan was more than that")
	}
	p, progress, err := w.install(t, request())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(planned.String(), p.String()); d != "" {
		t.Errorf("another plan was carried out (-planned +done):\n%s", d)
	}
	if err := w.boots(t, request()); err != nil {
		t.Error(err)
	}
	last := Progress{}
	for _, at := range progress {
		if at.Bytes < last.Bytes || at.Bytes > at.TotalBytes || at.TotalBytes == 0 {
			t.Errorf("progress goes from %+v to %+v", last, at)
		}
		last = at
	}
	if last.Step != Complete || last.Bytes != last.TotalBytes {
		t.Errorf("progress ends with %+v", last)
	}
	if _, err := os.Stat(w.cfg.Work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the work folder, which holds secrets, is still there: %v", err)
	}
	// The same once more does nothing.
	before := w.disk.writes
	p, _, err = w.install(t, request())
	if err != nil || len(p.Tasks) > 0 || p.After != Complete || w.disk.writes != before {
		t.Errorf("the same again: %v, tasks %v, %d writes", err, p.Tasks, w.disk.writes-before)
	}
	// Another configuration would be another installation, and this disk has data now.
	other := request()
	other.Configuration = []byte("kind: Other\n")
	if _, _, err := w.install(t, other); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), "GPT") {
		t.Errorf("another one: %v", err)
	}
	other.Wipe = "S-1"
	if _, _, err := w.install(t, other); err != nil {
		t.Error(err)
	}
	if err := w.boots(t, other); err != nil {
		t.Error(err)
	}
	// Asked for with its name, the same is done again too.
	before = w.disk.writes
	if _, _, err := w.install(t, other); err != nil || w.disk.writes == before {
		t.Errorf("wiped and done again: %v", err)
	}
}

// sealedRequest wants an encrypted disk.
func sealedRequest() Request {
	req := request()
	req.Configuration, req.Encrypted = []byte("kind: Machine\n# of those who may read it\n"), true
	return req
}

// TestEncrypted: the configuration comes onto an encrypted disk, and nowhere else, also where the power fails.
func TestEncrypted(t *testing.T) {
	lab, req := newLab(t), sealedRequest()
	sealer := &fakeSealer{}
	whole := lab.world(t, newSimDisk(testDiskBytes)).sealing(sealer)
	p, err := whole.Plan(t.Context(), req, lab.source)
	if err != nil || !strings.Contains(p.String(), "state: make encrypted file system, which the TPM of this machine opens") {
		t.Fatalf("%v, the plan is\n%s", err, p)
	}
	if !bytes.Equal(sealer.asked, lab.source.kernel) {
		t.Errorf("it was asked whether %d bytes open it, and not the kernel image", len(sealer.asked))
	}
	if _, _, err := whole.install(t, req); err != nil {
		t.Fatal(err)
	}
	if err := whole.boots(t, req); err != nil {
		t.Error(err)
	}
	for i, cut := range append(cuts(whole.disk.writes), whole.disk.writes) {
		if i%4 != 0 && cut != whole.disk.writes && os.Getenv("CUTS") != "all" {
			continue // TestPowerCuts has the others
		}
		w := lab.world(t, newSimDisk(testDiskBytes).clone(uint64(cut))).sealing(sealer)
		w.disk.left = cut
		_, _, _ = w.install(t, req)
		w.disk.powerOn()
		all := make([]byte, w.disk.size)
		if _, err := w.disk.ReadAt(all, 0); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(all, req.Configuration[14:]) {
			t.Fatalf("cut at write %d: the configuration is on the disk in the clear", cut)
		}
		if _, err := os.Stat(w.cfg.Work); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("cut at write %d: the work folder is still there: %v", cut, err)
		}
		if _, _, err := w.install(t, req); err != nil {
			t.Fatalf("cut at write %d, and then: %v", cut, err)
		}
		if err := w.boots(t, req); err != nil {
			t.Fatalf("cut at write %d, and then: %v", cut, err)
		}
	}
}

// stopBefore begins an installation, and gives it up before a step.
func (w *world) stopBefore(t *testing.T, req Request, s Step) {
	t.Helper()
	gone := errors.New("the caller has hung up")
	_, err := w.Install(t.Context(), req, w.source, func(Plan) error { return nil }, func(p Progress) error {
		if p.Step == s {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if !strings.Contains(err.Error(), "last step that was done: esp") {
		t.Errorf("given up before %s: %v", s, err)
	}
}

// TestSealedAnew: an installation whose state volume was made goes on by what seals now, and not at all where that would not open it.
func TestSealedAnew(t *testing.T) {
	lab, req := newLab(t), sealedRequest()
	for _, before := range []Step{Table, Complete} {
		w := lab.world(t, newSimDisk(testDiskBytes)).sealing(&fakeSealer{})
		w.stopBefore(t, req, before)
		writes := w.disk.writes
		w.sealing(&fakeSealer{refuse: errors.New("the TPM was cleared")})
		_, planErr := w.Plan(t.Context(), req, lab.source)
		_, _, err := w.install(t, req)
		for _, err := range []error{planErr, err} {
			if !errors.Is(err, ErrEncryption) || !strings.Contains(err.Error(), "version 1.2.3 would not open it: the TPM was cleared") {
				t.Errorf("given up before %s, and what seals refuses: %v", before, err)
			}
		}
		if w.disk.writes != writes {
			t.Errorf("given up before %s, and refused: %d writes", before, w.disk.writes-writes)
		}
		w.sealing(&fakeSealer{to: "another TPM"})
		var steps []Step
		p, progress, err := w.install(t, req)
		for _, at := range progress {
			steps = append(steps, at.Step)
		}
		if want := []Step{State, Table, Complete}; err != nil || p.After != ESP || !cmp.Equal(want, slices.Compact(steps)) {
			t.Errorf("given up before %s: %v, behind %s, steps %v", before, err, p.After, steps)
		}
		if err := w.boots(t, req); err != nil {
			t.Errorf("given up before %s: %v", before, err)
		}
	}
}

// TestPowerCutsSealedAnew cuts the power while a state volume is made anew on a disk that starts already: then that starts as before, or as it is to be, or is known
// as unfinished; and never with a part of the volume.
func TestPowerCutsSealedAnew(t *testing.T) {
	lab, req := newLab(t), sealedRequest()
	before, now := &fakeSealer{}, &fakeSealer{to: "another TPM"}
	from := lab.world(t, newSimDisk(testDiskBytes)).sealing(before)
	from.stopBefore(t, req, Complete)
	whole := lab.world(t, from.disk.clone(0)).sealing(now)
	if _, _, err := whole.install(t, req); err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	// Of the second to the sixth, by which the partition table goes, any sectors may be on the disk.
	table := slices.Repeat([]int{1, 2, 3, 4, 5}, 4)
	if testing.Short() {
		table = table[:5]
	}
	for i, cut := range append(cuts(whole.disk.writes), table...) {
		w := lab.world(t, from.disk.clone(uint64(i))).sealing(now)
		w.disk.left = cut
		if _, _, err := w.install(t, req); !errors.Is(err, errCut) {
			t.Fatalf("cut at write %d: %v", cut, err)
		}
		w.disk.powerOn()
		end := w.afterCut(t, req, cut)
		if w.sealing(before).boots(t, req) == nil {
			end = "starts as before"
		}
		if _, err := gpt.Read(gptDevice{simDisk: w.disk}); err == nil && end == "unfinished" {
			t.Errorf("cut at write %d: the disk has a partition table, and its state volume opens neither way", cut)
		}
		ends[end]++
		if _, _, err := w.sealing(now).install(t, req); err != nil {
			t.Fatalf("cut at write %d, and then: %v", cut, err)
		}
		if err := w.boots(t, req); err != nil {
			t.Fatalf("cut at write %d, and then: %v", cut, err)
		}
	}
	t.Logf("%d writes; afterwards: %v", whole.disk.writes, ends)
	for _, end := range []string{"starts as before", "unfinished", "starts"} {
		if ends[end] == 0 {
			t.Errorf("the cuts led to %v only", ends)
		}
	}
}

// TestEncryptedIsRefused: where the installed node would not open its disk, nothing is written; without encryption, nobody asks.
func TestEncryptedIsRefused(t *testing.T) {
	w := newWorld(t, newSimDisk(testDiskBytes))
	for name, test := range map[string]struct {
		prepare func()
		text    string
	}{
		"no TPM":       {func() { w.cfg.Sealer = nil }, "this machine has no TPM 2.0"},
		"not signed":   {func() { w.sealing(&fakeSealer{refuse: errors.New("nobody has signed it")}) }, "version 1.2.3 would not open it: nobody has signed it"},
		"no boot disk": {func() { w.sealing(&fakeSealer{}).source.bootErr = errors.New("no boot partition") }, "no boot partition"},
	} {
		test.prepare()
		_, planErr := w.Plan(t.Context(), sealedRequest(), w.source)
		_, _, err := w.install(t, sealedRequest())
		for _, err := range []error{planErr, err} {
			if !errors.Is(err, ErrEncryption) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: %v", name, err)
			}
		}
		w.source.bootErr = nil
	}
	if w.disk.writes > 0 || w.opened > 0 {
		t.Errorf("%d writes", w.disk.writes)
	}
	w.sealing(&fakeSealer{refuse: errors.New("nobody has signed it")})
	if _, _, err := w.install(t, request()); err != nil {
		t.Errorf("without encryption: %v", err)
	}
	if err := w.boots(t, request()); err != nil {
		t.Error(err)
	}
}

// TestNoConfiguration: the first configuration says how the state volume is made, so it is left blank, whatever was there.
func TestNoConfiguration(t *testing.T) {
	w := newWorld(t, garbage())
	req := request()
	req.Configuration, req.Wipe = nil, "S-1"
	p, _, err := w.install(t, req)
	if err != nil || !strings.Contains(p.String(), "state: leave it blank") {
		t.Fatalf("%v, the plan is\n%s", err, p)
	}
	if err := w.boots(t, req); err != nil {
		t.Error(err)
	}
}

// garbage is a disk full of what was on it.
func garbage() *simDisk {
	d := newSimDisk(testDiskBytes)
	for at := int64(0); at < d.size; at += 3 * pageBytes {
		d.WriteAt(d.junk(), at)
	}
	d.WriteAt([]byte("XFSB"), 0)
	d.Sync()
	d.writes = 0
	return d
}

func TestWipe(t *testing.T) {
	w := newWorld(t, garbage())
	for name, test := range map[string]struct {
		wipe string
		want error
		text string
	}{
		"not asked for":   {"", ErrData, `XFS (file system); choose another, or wipe it by its serial number or WWN: S-1, naa.5001`},
		"another's name":  {"S-0", ErrRequest, `"S-0"`},
		"the device":      {"vdb", ErrRequest, `S-1, naa.5001`},
		"an empty string": {" ", ErrRequest, `" "`},
	} {
		req := request()
		req.Wipe = test.wipe
		if _, _, err := w.install(t, req); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.opened > 0 || w.disk.writes > 0 {
		t.Fatal("a disk that holds data was opened for writing")
	}
	req := request()
	req.Wipe, req.Configuration = "NAA.5001", nil
	p, _, err := w.install(t, req)
	if err != nil || len(p.Destroys) == 0 || w.disk.discards == 0 {
		t.Fatalf("%v, destroys %v", err, p.Destroys)
	}
	if err := w.boots(t, req); err != nil {
		t.Error(err)
	}
}

// cuts are the writes of an installation to cut: the first and the last ones, among which are notes and partition table, and of those between every third, or all of
// them with CUTS=all. With -short they are few.
func cuts(writes int) []int {
	edge, step := 15, 3
	if testing.Short() {
		edge, step = 2, writes/4
	}
	var out []int
	for n := range writes {
		if n < edge || n >= writes-edge || n%step == 0 || os.Getenv("CUTS") == "all" {
			out = append(out, n)
		}
	}
	return out
}

// TestPowerCuts cuts the power with a write of an installation. Then the disk starts, or is known as one on which the installation was not finished, and in
// both cases the same request comes to the same end. A disk that held data is known to hold some, until that is gone.
func TestPowerCuts(t *testing.T) {
	for name, from := range map[string]*simDisk{"blank": newSimDisk(testDiskBytes), "with data": garbage()} {
		t.Run(name, func(t *testing.T) {
			req := request()
			if name == "with data" {
				req.Wipe = "S-1"
			}
			whole := newWorld(t, from.clone(0))
			if _, _, err := whole.install(t, req); err != nil {
				t.Fatal(err)
			}
			ends := map[string]int{}
			for _, cut := range cuts(whole.disk.writes) {
				w := whole.lab.world(t, from.clone(uint64(cut)))
				w.disk.left = cut
				if _, _, err := w.install(t, req); !errors.Is(err, errCut) {
					t.Fatalf("cut at write %d: %v", cut, err)
				}
				w.disk.powerOn()
				ends[w.afterCut(t, req, cut)]++
				if _, _, err := w.install(t, req); err != nil {
					t.Fatalf("cut at write %d, and then: %v", cut, err)
				}
				if err := w.boots(t, req); err != nil {
					t.Fatalf("cut at write %d, and then: %v", cut, err)
				}
			}
			t.Logf("%d writes; afterwards: %v", whole.disk.writes, ends)
			if ends["unfinished"] == 0 || ends["starts"] == 0 {
				t.Errorf("the cuts led to %v only", ends)
			}
		})
	}
}

// afterCut says what a disk is after a cut.
func (w *world) afterCut(t *testing.T, req Request, cut int) string {
	t.Helper()
	d := w.fact
	if err := Look(w.disk, &d); err != nil {
		t.Fatal(err)
	}
	starts := w.boots(t, req)
	switch {
	case starts == nil:
		return "starts"
	case d.Note != nil && d.Note.Step == Complete:
		t.Fatalf("cut at write %d: the installation counts as complete, and the disk does not start: %v", cut, starts)
	case len(d.Contents) > 0 && req.Wipe == "":
		t.Fatalf("cut at write %d: a disk that was blank holds %v", cut, d.Contents)
	case d.Note != nil:
		return "unfinished"
	case len(d.Contents) > 0:
		return "as before"
	}
	return "blank"
}

// TestSmallDisk: one that has no place for a note has none, and can be looked at.
func TestSmallDisk(t *testing.T) {
	for _, size := range []int64{0, 512, 100 << 10, notes.Begin, notes.Begin + notes.Bytes, testDiskBytes} {
		d := Disk{SizeBytes: size}
		if err := Look(newSimDisk(size), &d); err != nil || d.Note != nil || len(d.Contents) > 0 {
			t.Errorf("%d bytes: note %v, contents %v, %v", size, d.Note, d.Contents, err)
		}
	}
}

// TestCutTwice cuts, goes on, and cuts again, at random.
func TestCutTwice(t *testing.T) {
	w := newWorld(t, garbage())
	req := request()
	req.Wipe = "S-1"
	for try := 0; ; try++ {
		w.disk.left = w.disk.random.IntN(400)
		_, _, err := w.install(t, req)
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) || try > 200 {
			t.Fatal(err)
		}
		w.disk.powerOn()
	}
	w.disk.powerOn()
	if err := w.boots(t, req); err != nil {
		t.Error(err)
	}
}

// TestAnotherDiskNow: what comes onto the disk between a cut and the next try is not taken for the installation's.
func TestAnotherDiskNow(t *testing.T) {
	whole := newWorld(t, newSimDisk(testDiskBytes))
	if _, _, err := whole.install(t, request()); err != nil {
		t.Fatal(err)
	}
	cuts := []int{3, 40, 75, whole.disk.writes - 10}
	if testing.Short() {
		cuts = cuts[2:]
	}
	for _, cut := range cuts {
		w := whole.lab.world(t, newSimDisk(testDiskBytes))
		w.disk.left = cut
		if _, _, err := w.install(t, request()); !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		w.disk.powerOn()
		w.disk.WriteAt([]byte("XFSB"), 0)
		if _, _, err := w.install(t, request()); !errors.Is(err, ErrData) {
			t.Errorf("cut at %d: a file system that was made since was not noticed: %v", cut, err)
		}
		// Who gives it up does not get what has been written over.
		req := request()
		req.Wipe = "S-1"
		for _, p := range []int64{20, 200, 600} {
			w.disk.WriteAt([]byte("another system's"), testDiskBytes*p/1000)
		}
		if _, _, err := w.install(t, req); err != nil {
			t.Fatal(err)
		}
		if err := w.boots(t, req); err != nil {
			t.Errorf("cut at %d, and wiped since: %v", cut, err)
		}
	}
}

// TestReset: a reset that was once ordered for the disk does not come upon the node that is installed on it.
func TestReset(t *testing.T) {
	w := newWorld(t, garbage())
	if err := notes.Write(w.disk, notes.Reset, []byte("wipe")); err != nil {
		t.Fatal(err)
	}
	req := request()
	req.Wipe = "S-1"
	if _, _, err := w.install(t, req); err != nil {
		t.Fatal(err)
	}
	if text, err := notes.Read(w.disk, notes.Reset); err != nil || text != nil {
		t.Errorf("a reset is noted: %q, %v", text, err)
	}
}

// TestInUse: a disk whose installation was cut at its very end starts, and a node lives on it. No other installation takes its place unasked.
func TestInUse(t *testing.T) {
	whole := newWorld(t, newSimDisk(testDiskBytes))
	if _, _, err := whole.install(t, request()); err != nil {
		t.Fatal(err)
	}
	w := whole.lab.world(t, newSimDisk(testDiskBytes))
	w.disk.left = whole.disk.writes - 1
	if _, _, err := w.install(t, request()); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	w.disk.powerOn()
	if err := w.boots(t, request()); err != nil {
		t.Fatalf("the disk does not start: %v", err)
	}
	if err := Started(w.disk); err != nil {
		t.Fatal(err)
	}
	writes := w.disk.writes
	other := request()
	other.Configuration = []byte("kind: Other\n")
	if _, _, err := w.install(t, other); !errors.Is(err, ErrData) {
		t.Errorf("another installation: %v", err)
	}
	if p, _, err := w.install(t, request()); err != nil || len(p.Tasks) > 0 {
		t.Errorf("the same again: %v, %v", err, p.Tasks)
	}
	// Another start, and one of a disk that was never installed on, write nothing.
	for _, d := range []*simDisk{w.disk, newSimDisk(testDiskBytes)} {
		before := d.writes
		if err := Started(d); err != nil || d.writes != before {
			t.Errorf("%d writes, %v", d.writes-before, err)
		}
	}
	if w.disk.writes != writes {
		t.Errorf("%d writes to a disk in use", w.disk.writes-writes)
	}
}

// TestOtherPlan: an installation that was not finished gives way to another one.
func TestOtherPlan(t *testing.T) {
	w := newWorld(t, newSimDisk(testDiskBytes))
	w.disk.left = 60
	if _, _, err := w.install(t, request()); !errors.Is(err, errCut) {
		t.Fatal(err)
	}
	w.disk.powerOn()
	other := request()
	other.Configuration = []byte("kind: Other\n")
	p, _, err := w.install(t, other)
	if err != nil || p.After != "" {
		t.Fatalf("%v, behind %q", err, p.After)
	}
	if err := w.boots(t, other); err != nil {
		t.Error(err)
	}
}

// TestBrokenDisk: a disk that fails with any write ends the installation with that error, and is written to no more.
func TestBrokenDisk(t *testing.T) {
	lab, step := newLab(t), 9
	if testing.Short() {
		step = 33
	}
	for _, broken := range []error{syscall.EIO, syscall.ENODEV} {
		for left := 0; left < 100; left += step {
			w := lab.world(t, newSimDisk(testDiskBytes))
			w.disk.left, w.disk.broken = left, broken
			_, _, err := w.install(t, request())
			if !errors.Is(err, broken) || !strings.Contains(err.Error(), "vdb") || !strings.Contains(err.Error(), "nothing but this disk was changed") {
				t.Errorf("after %d writes: %v", left, err)
			}
			if w.disk.writes != left+1 {
				t.Errorf("after %d writes it failed, and %d more were tried", left, w.disk.writes-left-1)
			}
		}
	}
}

// TestBadSource: what is no good is found before the disk can start, and mostly before it is touched.
func TestBadSource(t *testing.T) {
	lab := newLab(t)
	for name, test := range map[string]struct {
		spoil   func(s *fakeSource)
		text    string
		touched bool
	}{
		"a block of the root":      {func(s *fakeSource) { s.root[77*blockBytes+5] ^= 1 }, "block 77 of the root: it is damaged", true},
		"a root that is too short": {func(s *fakeSource) { s.root = s.root[:100*blockBytes+9] }, "block 100 of the root: unexpected EOF", true},
		"the tree":                 {func(s *fakeSource) { s.tree[2*blockBytes+40] ^= 1 }, "it is damaged: block 0 of level 0", false},
		"the top of the tree":      {func(s *fakeSource) { s.tree[blockBytes+40] ^= 1 }, "it is damaged: block 0 of level 1", false},
		"another root hash":        {func(s *fakeSource) { s.release.RootHash = strings.Repeat("ab", 32) }, "does not lead to root hash abab", false},
		"a superblock":             {func(s *fakeSource) { s.tree[0] = 'x' }, "signature is", false},
		"a cut tree":               {func(s *fakeSource) { s.tree = s.tree[:blockBytes] }, "read hash tree: EOF", false},
		"another kernel": {func(s *fakeSource) {
			s.kernel = image("roothash=" + strings.Repeat("ab", 32))
		}, "its command line does not have roothash=", true},
		"a kernel that is none": {func(s *fakeSource) { s.kernel = make([]byte, len(s.kernel)) }, "has no section .cmdline", true},
		"a short kernel":        {func(s *fakeSource) { s.kernel = s.kernel[:1000] }, "it has 1000 bytes", true},
		"a large kernel":        {func(s *fakeSource) { s.release.KernelBytes = mib }, "kernel image, three times", false},
		"no boot loader":        {func(s *fakeSource) { s.files = os.DirFS(t.TempDir()) }, "has no boot loader", true},
		"a source that is gone": {func(s *fakeSource) { s.rootErr = syscall.EIO }, "input/output error", true},
		"no architecture":       {func(s *fakeSource) { s.release.Architecture = "riscv64" }, "riscv64", false},
	} {
		lab.source = newSource(t)
		w := lab.world(t, newSimDisk(testDiskBytes))
		test.spoil(w.source)
		_, _, err := w.install(t, request())
		if err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v", name, err)
		}
		if touched := w.disk.writes > 0; touched != test.touched {
			t.Errorf("%s: the disk was touched: %t", name, touched)
		}
		if w.boots(t, request()) == nil {
			t.Errorf("%s: the disk starts", name)
		}
		if testing.Short() && !test.touched {
			continue // what follows is the installation on a blank disk, which TestInstall has
		}
		// With a good one, it goes on.
		w.source = newSource(t)
		if _, _, err := w.install(t, request()); err != nil {
			t.Errorf("%s, and then a good one: %v", name, err)
		}
		if err := w.boots(t, request()); err != nil {
			t.Errorf("%s, and then a good one: %v", name, err)
		}
	}
}

// TestGivenUp: an installation ends where its caller hangs up, and goes on.
func TestGivenUp(t *testing.T) {
	w := newWorld(t, newSimDisk(testDiskBytes))
	gone := errors.New("the caller has hung up")
	_, err := w.Install(t.Context(), request(), w.source, func(Plan) error { return nil }, func(p Progress) error {
		if p.Step == State {
			return gone
		}
		return nil
	})
	if !errors.Is(err, gone) || !strings.Contains(err.Error(), "last step that was done: esp") {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = w.Install(ctx, request(), w.source, func(Plan) error { cancel(); return nil }, func(Progress) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	var steps []Step
	p, progress, err := w.install(t, request())
	for _, at := range progress {
		steps = append(steps, at.Step)
	}
	if want := []Step{State, Table, Complete}; err != nil || p.After != ESP || !cmp.Equal(want, slices.Compact(steps)) {
		t.Errorf("%v, behind %s, steps %v", err, p.After, steps)
	}
	if err := w.boots(t, request()); err != nil {
		t.Error(err)
	}
}

// TestOneAtATime: a second installation is refused while one is under way.
func TestOneAtATime(t *testing.T) {
	w := newWorld(t, newSimDisk(testDiskBytes))
	_, err := w.Install(t.Context(), request(), w.source, func(Plan) error {
		if _, _, err := w.install(t, request()); !errors.Is(err, ErrBusy) {
			return fmt.Errorf("the second: %w", err)
		}
		return nil
	}, func(Progress) error { return nil })
	if err != nil {
		t.Error(err)
	}
}

// TestLargeKernel: a kernel image of many pieces comes whole.
func TestLargeKernel(t *testing.T) {
	w := newWorld(t, newSimDisk(120*mib))
	w.cfg.Sizes.ESP = 80 * mib
	kernel := make([]byte, 13*mib+4321)
	copy(kernel, w.source.kernel)
	for i := len(w.source.kernel); i < len(kernel); i++ {
		kernel[i] = byte(i * i >> 11)
	}
	w.source.kernel, w.source.release.KernelBytes = kernel, int64(len(kernel))
	if _, _, err := w.install(t, request()); err != nil {
		t.Fatal(err)
	}
	if err := w.boots(t, request()); err != nil {
		t.Error(err)
	}
}
