package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cyvive/cyvive/hack/qemu/vmtest"
)

// Replication are the figures of a replication job between two pools of one machine, over a connection with certificates on both ends, beside zfs send into zfs
// receive of the same snapshots into the same pool. They are those of TestVMFigures of package peer. Pools, both ends of the connection and both of its encryption
// have the same two processors, and the pools are in memory: between two machines with disks, the stream has more of each, and the network.
type Replication struct {
	// StepBytes is the stream of each step. ProgramSeconds and JobSeconds are what it took with the programs alone, and a run of the job with all that belongs
	// to it, from the look at both sides to the new cursor; two of the same place were measured one after the other, and took turns in being the first.
	StepBytes      int64     `json:"stepBytes"`
	ProgramSeconds []float64 `json:"programSeconds"`
	JobSeconds     []float64 `json:"jobSeconds"`
	// EmptyProgramSeconds and EmptyJobSeconds are the same of steps without contents: of each figure above, what is not the stream.
	EmptyProgramSeconds []float64 `json:"emptyProgramSeconds"`
	EmptyJobSeconds     []float64 `json:"emptyJobSeconds"`
	// CutStepBytes is the stream of a step that was cut when CutBytes had been sent, of which the receiver had read SavedBytes and keeps them. ResumedBytes were
	// sent when it was gone on with.
	CutStepBytes int64 `json:"cutStepBytes"`
	CutBytes     int64 `json:"cutBytes"`
	SavedBytes   int64 `json:"savedBytes"`
	ResumedBytes int64 `json:"resumedBytes"`
	// RecordBytes is the size of a record of the dataset.
	RecordBytes int64 `json:"recordBytes"`
}

const (
	// replicationMemoryBytes is the memory of the machine, in which its pools are: they have 3.6 GiB, and the root, where their files lie, has half of the memory
	// (tmpfs(5)).
	replicationMemoryBytes = 8 << 30
	// replicationTimeout is more than the test takes without hardware support, which begins no more rounds after some minutes. Whoever meets it has no figures: they
	// are printed at the end.
	replicationTimeout = 45 * time.Minute
	// figuresLine begins the line with the figures.
	figuresLine = "figures "
)

// replication runs the test that measures, in a machine of its own.
func (o Options) replication(ctx context.Context) (*Replication, error) {
	o.say("replication: two pools of one machine")
	var out bytes.Buffer
	err := vmtest.Run(ctx, vmtest.Options{
		Arch: o.Cluster.Arch, ImageDir: o.Cluster.ImageDir, Guest: o.Guest, Test: o.PeerTest,
		Args: []string{"-test.run=^TestVMFigures$", "-test.v", "-test.timeout=" + replicationTimeout.String()}, Env: []string{"REQUIRE_VM=1", "FIGURES=1"},
		Dir: filepath.Join(o.Root, "internal", "machined", "peer"), CPUs: o.Cluster.CPUs, MemoryBytes: replicationMemoryBytes, Timeout: replicationTimeout,
		Stdout: &out, Stderr: o.Out,
	})
	r, unread := parseReplication(out.String())
	if err != nil { // a test that fails has printed its figures all the same, if it came so far
		return r, fmt.Errorf("%w; it said:\n%s", err, out.String())
	}
	return r, unread
}

// parseReplication finds the figures in what the test has printed.
func parseReplication(text string) (*Replication, error) {
	for line := range strings.Lines(text) {
		data, found := strings.CutPrefix(line, figuresLine)
		if !found {
			continue
		}
		r := &Replication{}
		if err := json.Unmarshal([]byte(data), r); err != nil {
			return nil, fmt.Errorf("read figures of replication: %w", err)
		}
		for _, pair := range [][2][]float64{{r.JobSeconds, r.ProgramSeconds}, {r.EmptyJobSeconds, r.EmptyProgramSeconds}} {
			if len(pair[0]) != len(pair[1]) {
				return nil, fmt.Errorf("read figures of replication: %d times of the job and %d of the programs, expected pairs", len(pair[0]), len(pair[1]))
			}
		}
		return r, nil
	}
	return nil, errors.New("read figures of replication: the test has printed none")
}

// mean is that of some times; zero of none.
func mean(seconds []float64) float64 {
	sum := 0.0
	for _, s := range seconds {
		sum += s
	}
	return sum / float64(max(len(seconds), 1))
}

// speeds are the bytes a second of all steps, of the job and of the programs; zero where none was measured.
func (r *Replication) speeds() (job, programs float64) {
	speed := func(seconds []float64) float64 {
		if mean(seconds) <= 0 {
			return 0
		}
		return float64(r.StepBytes) / mean(seconds)
	}
	return speed(r.JobSeconds), speed(r.ProgramSeconds)
}

// rows are those of replication.
func (r *Replication) rows() []liferow {
	if r == nil {
		return nil
	}
	var rows []liferow
	if job, programs := r.speeds(); job > 0 {
		rows = append(rows, liferow{fmt.Sprintf("replication over mutual TLS, steps of %.0f MB", float64(r.StepBytes)/mb), "MB/s", job / mb, theProgram, programs / mb})
	}
	if job := mean(r.EmptyJobSeconds); job > 0 {
		rows = append(rows, liferow{"replication over mutual TLS, a step without contents", "s", job, theProgram, mean(r.EmptyProgramSeconds)})
	}
	if r.ResumedBytes > 0 {
		// What has come twice of what the receiver kept; the heads of two streams are in it.
		again := r.ResumedBytes - (r.CutStepBytes - r.SavedBytes)
		rows = append(rows,
			liferow{"replication cut: of what was kept, sent again", "kB", float64(max(again, 0)) / 1e3, oneRecord, float64(r.RecordBytes) / 1e3},
			liferow{"replication cut: on its way, and sent again", "kB", float64(max(r.CutBytes-r.SavedBytes, 0)) / 1e3, "", 0})
	}
	return rows
}
