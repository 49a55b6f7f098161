package peer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// figures are what make bench writes down of replication (package bench of hack/qemu, whose Replication they are).
type figures struct {
	StepBytes           int64     `json:"stepBytes"`
	ProgramSeconds      []float64 `json:"programSeconds"`
	JobSeconds          []float64 `json:"jobSeconds"`
	EmptyProgramSeconds []float64 `json:"emptyProgramSeconds"`
	EmptyJobSeconds     []float64 `json:"emptyJobSeconds"`
	CutStepBytes        int64     `json:"cutStepBytes"`
	CutBytes            int64     `json:"cutBytes"`
	SavedBytes          int64     `json:"savedBytes"`
	ResumedBytes        int64     `json:"resumedBytes"`
	RecordBytes         int64     `json:"recordBytes"`
}

const (
	// longFileBytes is a step of make bench: it goes on for so long that the figure is of the stream, and not of what is around it.
	longFileBytes = 256 << 20
	// keptFreeBytes is more than what OpenZFS keeps free of a pool of some gibibytes (spa_min_slop in module/zfs/spa_misc.c, 128 MiB), and the blocks that say
	// where the others are.
	keptFreeBytes = 192 << 20
	// longRounds are measured at most, and no more are begun after longEnough, however slow the machine is. They are even: each of the two is first as often as
	// the other.
	longRounds = 6
	longEnough = 6 * time.Minute
	// emptyRounds are of steps without contents.
	emptyRounds = 4
	// lostAtMost is what a step that was cut may send again of what the receiver had read: OpenZFS writes records down by batches of a mebibyte
	// (zfs_recv_write_batch_size of zfs(4)).
	lostAtMost = 4 << 20
)

// TestVMFigures measures a step of a job, with all that belongs to it, beside zfs send into zfs receive of the same snapshots into the same pool, one after the
// other; a step without contents, which is what a step takes beside its stream; and what a step that is cut sends again. With FIGURES=1, which make bench sets,
// the steps are large, there are several of them, and the figures are printed as a line of JSON.
//
// Two snapshots of a step are in a pool at the same time, in beta of two replicas, and once more as much is room for what was written before and is not free yet. In
// beta there is more: what was received and is not on the disk yet counts with 24 times its size (spa_asize_inflation of zfs(4)), and where that goes beyond the room
// that is left, a receive waits for the disk each time (dsl_dir_tempreserve_impl in module/zfs/dsl_dir.c). That would be of the pool's size, longer for the one that
// comes second, and hide some of what a job takes beside it.
func TestVMFigures(t *testing.T) {
	figured := os.Getenv("FIGURES") == "1"
	rounds, empty, fileBytes := 1, 1, int64(vmFileBytes)
	if figured {
		rounds, empty, fileBytes = longRounds, emptyRounds, longFileBytes
	} else {
		longOnly(t)
	}
	p := newVMPair(t, vmSystem(t, keptFreeBytes+3*fileBytes, keptFreeBytes+10*fileBytes), false, false)
	p.fileBytes = fileBytes
	var f figures
	begun := time.Now()
	// The first time makes the datasets, and is not measured.
	p.write("0")
	p.piped("", "0")
	p.must(p.run(t.Context(), func(int) {}))
	last := "0"
	for i := range rounds {
		if i > 0 && i%2 == 0 && time.Since(begun) > longEnough {
			break
		}
		next := strconv.Itoa(i + 1)
		p.write(next)
		f.StepBytes = p.measure(i, last, next, &f.ProgramSeconds, &f.JobSeconds)
		p.drop(last)
		last = next
	}
	p.same(last)
	for i := range empty {
		next := "empty" + strconv.Itoa(i)
		p.must(p.system.Snapshot(t.Context(), []string{p.job.Roots[0].Source + "@" + next}, nil))
		p.measure(i, last, next, &f.EmptyProgramSeconds, &f.EmptyJobSeconds)
		p.drop(last)
		last = next
	}
	p.fileBytes = vmFileBytes
	p.cut(last, "cut", &f)
	lost := f.ResumedBytes - (f.CutStepBytes - f.SavedBytes)
	t.Logf("%+v; %d bytes were sent again of what was saved", f, lost)
	if f.SavedBytes == 0 || lost > lostAtMost {
		t.Errorf("of %d bytes, %d were saved at the cut, and %d sent after it, want %d at most again of what was saved", f.CutStepBytes, f.SavedBytes, f.ResumedBytes, lostAtMost)
	}
	if figured {
		line, err := json.Marshal(f)
		p.must(err)
		fmt.Printf("\nfigures %s\n", line)
	}
}

// measure takes the times of a step by the programs alone and by the job, and returns the length of its stream. Which of them comes second finds more of the
// source in memory, and so they take turns.
func (p *vmPair) measure(round int, from, to string, programs, job *[]float64) (streamBytes int64) {
	p.t.Helper()
	measures := []func(){
		func() { *programs = append(*programs, p.piped(from, to).Seconds()) },
		func() {
			p.bytes = 0
			start := time.Now()
			p.must(p.run(p.t.Context(), func(int) {}))
			*job = append(*job, time.Since(start).Seconds())
		},
	}
	if round%2 == 1 {
		measures[0], measures[1] = measures[1], measures[0]
	}
	for _, measure := range measures {
		measure()
	}
	return int64(p.bytes)
}

// drop destroys a snapshot that no step needs any more, and waits until what it took is free: OpenZFS gives blocks back in the background, and uses them again two
// transaction groups later (TXG_DEFER_SIZE in include/sys/txg.h), for which zpool sync waits.
func (p *vmPair) drop(snapshot string) {
	p.t.Helper()
	for _, name := range []string{p.job.Roots[0].Source, plainReplica, p.job.Roots[0].Target} {
		p.must(p.system.DestroySnapshots(p.t.Context(), []string{name + "@" + snapshot}))
	}
	for _, pool := range []string{"alpha", "beta"} {
		vmZpool(p.t, "wait", "-t", "free", pool)
		vmZpool(p.t, "sync", pool)
	}
}

// plainReplica is where the programs alone put what they receive.
const plainReplica = "beta/plain"

// piped sends a snapshot through a pipe, as a person would with the programs alone, and returns how long that took. From is the snapshot before, or empty for all.
func (p *vmPair) piped(from, to string) time.Duration {
	p.t.Helper()
	args := []string{"send", "--large-block", "--embed", "--compressed"}
	if from != "" {
		args = append(args, "-i", "@"+from)
	}
	reader, writer, err := os.Pipe()
	p.must(err)
	send := exec.CommandContext(p.t.Context(), "/usr/bin/zfs", append(args, p.job.Roots[0].Source+"@"+to)...)
	receive := exec.CommandContext(p.t.Context(), "/usr/bin/zfs", "receive", "-u", plainReplica)
	var sendWords, receiveWords bytes.Buffer
	send.Stdout, send.Stderr = writer, &sendWords
	receive.Stdin, receive.Stderr = reader, &receiveWords
	start := time.Now()
	p.must(receive.Start())
	p.must(send.Start())
	_ = reader.Close()
	_ = writer.Close() // the programs have theirs
	sent, received := send.Wait(), receive.Wait()
	took := time.Since(start)
	if sent != nil || received != nil {
		p.t.Fatalf("zfs send: %v %s; zfs receive: %v %s", sent, sendWords.String(), received, receiveWords.String())
	}
	return took
}

// streamBytes is the length of a step's stream.
func (p *vmPair) streamBytes(from, to string) int64 {
	p.t.Helper()
	source := p.job.Roots[0].Source
	stream, err := p.system.Send(p.t.Context(), zfs.SendSpec{Snapshot: source + "@" + to, From: source + "@" + from, Large: true})
	p.must(err)
	n, err := io.Copy(io.Discard, stream)
	p.must(err)
	p.must(stream.Close())
	return n
}

// cut cuts a step in the middle, and has it gone on with.
func (p *vmPair) cut(from, to string, f *figures) {
	p.t.Helper()
	p.write(to)
	f.CutStepBytes = p.streamBytes(from, to)
	ctx, end := context.WithCancel(p.t.Context())
	defer end()
	p.bytes = 0
	if err := p.run(ctx, func(int) {
		if int64(p.bytes) > f.CutStepBytes/2 {
			end()
		}
	}); err == nil {
		p.t.Fatal("a run that was cut went well")
	}
	f.CutBytes, f.SavedBytes = int64(p.bytes), p.saved()
	p.bytes = 0
	p.must(p.run(p.t.Context(), func(int) {}))
	f.ResumedBytes = int64(p.bytes)
	p.same(to)
	found, err := p.system.List(p.t.Context(), zfs.Query{Roots: []string{p.job.Roots[0].Source}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{"recordsize"}})
	p.must(err)
	f.RecordBytes, err = strconv.ParseInt(found[0].Properties["recordsize"].Value, 10, 64)
	p.must(err)
}

// saved is how far the stream has come that was cut, by the token of the receiving side, once that has ended.
func (p *vmPair) saved() int64 {
	p.t.Helper()
	const property = "receive_resume_token"
	last, same := "", 0
	for range 40 {
		found, err := p.system.List(p.t.Context(), zfs.Query{Roots: []string{p.job.Roots[0].Target}, Kinds: []zfs.Kind{zfs.Filesystem}, Properties: []string{property}})
		p.must(err)
		token := found[0].Properties[property].Value
		if same++; token != last {
			last, same = token, 0
		}
		if same >= 4 && token != "" && token != "-" {
			read, err := p.system.Token(p.t.Context(), token)
			p.must(err)
			return int64(read.BytesReceived)
		}
		time.Sleep(500 * time.Millisecond)
	}
	p.t.Fatalf("the step that was cut has no token that stays: %q", last)
	return 0
}
