package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// load writes to a node and verifies what it has written, until it is stopped. Meanwhile the probe of the node is its own.
type load interface {
	// underWay waits until it has proved itself, and is in the middle of its work.
	underWay(t *testing.T, ctx context.Context)
	// further waits until it has begun something more behind this call, and has verified that.
	further(t *testing.T, ctx context.Context)
	// end stops it where nothing may have gone wrong.
	end(t *testing.T, ctx context.Context, p *pooled)
	// halt stops it, whatever became of it. It may be called more than once.
	halt()
}

const (
	// fioProgram is Debian's fio.
	fioProgram = "/usr/bin/fio"
	// fioBlocks are those that each job writes, so many a second at most that a run takes half a minute at least.
	fioBlocks, fioBlocksASecond = 512, 16
	// fioMiddle is how far into a run its middle is at least.
	fioMiddle = 3 * time.Second
)

// fioJob writes one file, each block once and in random order, and then reads and verifies each.
type fioJob struct {
	name string
	// direct asks for I/O past the node's cache (O_DIRECT). OpenZFS does that, since 2.3, with whole records; with parts of one, which the other job writes, it
	// must read and write the record.
	direct     int
	blockBytes int64
}

func (j fioJob) bytes() int64 { return fioBlocks * j.blockBytes }

func fioJobs() []fioJob { return []fioJob{{"direct", 1, 128 << 10}, {"buffered", 0, 16 << 10}} }

// withFio says whether fio runs on nodes. Its program is that of this machine, and its runs take minutes.
func (e env) withFio() bool { return long() && e.arch == runtime.GOARCH }

// fioArguments are those of a run in a directory. Its number makes the order of the blocks and what is in them another than those of each run before, so that a
// block that was not written does not pass for one that was. A run writes all once and ends by itself: with loops, or a time to run, fio 3.33 takes sound
// blocks for others (its issue 1517).
func fioArguments(dir string, run int) []string {
	args := []string{
		"--output-format=json", "--name=global", "--thread", "--ioengine=psync", "--directory=" + dir, "--rw=randwrite",
		"--verify=crc32c", "--verify_fatal=1", "--do_verify=1", "--verify_state_save=0",
		"--randseed=" + strconv.Itoa(run), "--rate_iops=" + strconv.Itoa(fioBlocksASecond),
		"--fallocate=none", "--disk_util=0", // neither is there for ZFS
	}
	for _, j := range fioJobs() {
		args = append(args, "--name="+j.name, "--direct="+strconv.Itoa(j.direct),
			"--bs="+strconv.FormatInt(j.blockBytes, 10), "--size="+strconv.FormatInt(j.bytes(), 10))
	}
	return args
}

// fioReport is what is read of what fio prints in JSON.
type fioReport struct {
	Jobs []fioJobReport `json:"jobs"`
}

// fioJobReport is that of one job.
type fioJobReport struct {
	Name string `json:"jobname"`
	// Error is the number of what ended the job. TotalErrors is there only where it was to go on behind errors.
	Error       int      `json:"error"`
	TotalErrors int      `json:"total_err"`
	Read        fioBytes `json:"read"`
	Write       fioBytes `json:"write"`
}

// fioBytes are what was read or written; what is read here is read to verify it.
type fioBytes struct {
	Bytes int64 `json:"io_bytes"`
}

// checkFio wants a run to have written and verified all, without an error.
func checkFio(printed string) error {
	begin := strings.IndexByte(printed, '{') // behind notes of fio
	if begin < 0 {
		return fmt.Errorf("read report of fio: it has no JSON: %q", printed)
	}
	var report fioReport
	if err := json.NewDecoder(strings.NewReader(printed[begin:])).Decode(&report); err != nil {
		return fmt.Errorf("read report of fio: %w: %q", err, printed)
	}
	if len(report.Jobs) != len(fioJobs()) {
		return fmt.Errorf("read report of fio: it has %d jobs, want %d: %q", len(report.Jobs), len(fioJobs()), printed)
	}
	for i, want := range fioJobs() {
		switch got := report.Jobs[i]; {
		case got.Name != want.name:
			return fmt.Errorf("read report of fio: job %d is %q, want %q", i+1, got.Name, want.name)
		case got.Error != 0 || got.TotalErrors != 0:
			return fmt.Errorf("job %s of fio ended with error %d, and counted %d", got.Name, got.Error, got.TotalErrors)
		case got.Write.Bytes != want.bytes() || got.Read.Bytes < want.bytes():
			return fmt.Errorf("job %s of fio wrote %d bytes and verified %d, want %d", got.Name, got.Write.Bytes, got.Read.Bytes, want.bytes())
		}
	}
	return nil
}

// fio runs fio on a node, again and again.
type fio struct {
	quit, done chan struct{}
	once       sync.Once

	mu sync.Mutex
	// runs are those that went well, and err is what ended it.
	runs []fioRun
	err  error
}

// fioRun is when a run began and ended, by the clock of this machine.
type fioRun struct{ began, ended time.Time }

// fio begins to run it in a directory.
func (p *pooled) fio(ctx context.Context, dir string) *fio {
	f := &fio{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		for n := 1; ; n++ {
			select {
			case <-f.quit:
				return
			default:
			}
			run := fioRun{began: time.Now()}
			printed, err := p.probe.Run(ctx, fioProgram, fioArguments(probedPath(dir), n)...)
			if err == nil {
				err = checkFio(printed)
			}
			run.ended = time.Now()
			f.mu.Lock()
			if f.err = err; err == nil {
				f.runs = append(f.runs, run)
			}
			f.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return f
}

// count is how many runs went well.
func (f *fio) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.runs)
}

// await waits until so many runs went well.
func (f *fio) await(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	for f.count() < n {
		select {
		case <-ctx.Done():
			t.Fatalf("fio ran %d times, want %d: %v", f.count(), n, context.Cause(ctx))
		case <-f.done:
			if f.count() < n {
				t.Fatalf("fio ended behind %d runs, want %d: %v", f.count(), n, f.err)
			}
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// underWay waits for one whole run, and the middle of the next.
func (f *fio) underWay(t *testing.T, ctx context.Context) {
	t.Helper()
	f.await(t, ctx, 1)
	select {
	case <-ctx.Done():
		t.Fatal(context.Cause(ctx))
	case <-time.After(fioMiddle):
	}
}

// further waits for the run that is under way, and one more.
func (f *fio) further(t *testing.T, ctx context.Context) {
	t.Helper()
	f.await(t, ctx, f.count()+2)
}

// halt waits for the end of the run that is under way.
func (f *fio) halt() {
	f.once.Do(func() { close(f.quit) })
	<-f.done
}

// end wants no run to have gone wrong.
func (f *fio) end(t *testing.T, _ context.Context, _ *pooled) {
	t.Helper()
	f.halt()
	if f.err != nil {
		t.Fatalf("behind %d runs of fio: %v", len(f.runs), f.err)
	}
	t.Logf("fio ran %d times", len(f.runs))
}

// ranThrough wants one run, of those of a load that was stopped, to have been under way all the while: what happened then happened in the middle of it.
func (f *fio) ranThrough(t *testing.T, from, to time.Time) {
	t.Helper()
	for _, r := range f.runs {
		if r.began.Before(from) && r.ended.After(to) {
			return
		}
	}
	t.Errorf("no run of fio was under way from %s to %s: %v", from.Format(time.StampMilli), to.Format(time.StampMilli), f.runs)
}

// TestCheckFio: a run counts only if each job wrote all, verified all, and had no error.
func TestCheckFio(t *testing.T) {
	report := func(change func(r *fioReport)) string {
		var r fioReport
		for _, j := range fioJobs() {
			r.Jobs = append(r.Jobs, fioJobReport{Name: j.name, Read: fioBytes{j.bytes()}, Write: fioBytes{j.bytes()}})
		}
		change(&r)
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return "note: something\n" + string(data) + "\n"
	}
	if err := checkFio(report(func(*fioReport) {})); err != nil {
		t.Errorf("a good run: %v", err)
	}
	for name, printed := range map[string]string{
		"nothing printed": "",
		"cut off":         report(func(*fioReport) {})[:60],
		"one job only":    report(func(r *fioReport) { r.Jobs = r.Jobs[:1] }),
		"another job":     report(func(r *fioReport) { r.Jobs[0].Name = "x" }),
		"error":           report(func(r *fioReport) { r.Jobs[1].Error = 5 }),
		"errors passed":   report(func(r *fioReport) { r.Jobs[0].TotalErrors = 1 }),
		"not all written": report(func(r *fioReport) { r.Jobs[1].Write.Bytes-- }),
		"not verified":    report(func(r *fioReport) { r.Jobs[0].Read.Bytes = 0 }),
	} {
		if err := checkFio(printed); err == nil {
			t.Errorf("%s: no error for %q", name, printed)
		}
	}
}
