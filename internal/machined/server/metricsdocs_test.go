package server_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

// measured is a node that has something of all that there are metrics of.
func measured() *servertest.Node {
	at := timestamppb.New(time.Unix(1_800_000_000, 0))
	node := pooled()
	node.Checks, node.ServiceList = []server.Check{{Name: "etcd"}}, []server.Service{{Name: "etcd"}}
	node.CgroupList = []*kernelv1.Cgroup{{Path: "/system/etcd"}}
	node.StatsValue = &kernelv1.Stats{
		Disks: []*kernelv1.DiskStats{{Name: "vda"}}, Interfaces: []*kernelv1.InterfaceStats{{Name: "eth0"}}, Pressures: []*kernelv1.Pressure{{Resource: "io"}},
	}
	tank := node.Pools.List.Pools[0]
	tank.FragmentationPercent = new(uint32(3))
	tank.Scan = &poolv1.Scan{Function: poolv1.Function_FUNCTION_SCRUB, Progress: poolv1.Progress_PROGRESS_FINISHED, EndedAt: at}
	node.Pools.List.Pools = append(node.Pools.List.Pools, &poolv1.Pool{Name: "busy", Imported: true, Scan: &poolv1.Scan{
		Function: poolv1.Function_FUNCTION_RESILVER, Progress: poolv1.Progress_PROGRESS_RUNNING, Remaining: durationpb.New(time.Minute),
	}})
	node.Datasets.List = []*datasetv1.Dataset{{Name: "tank/a", Declared: true}}
	node.Datasets.Schedules = []*snapshotv1.Schedule{{Name: "hourly", Problems: []string{"no room"}, FailingSince: at, RetryAt: at, NewestAt: at}}
	node.Replication.Jobs = []*replicationv1.Job{{Name: "offsite", Runs: true, Problem: "no route", FailingSince: at, NextAt: at, SucceededAt: at, HeardAt: at}}
	return node
}

// TestMetricsDocs: docs/metrics.md has every metric of a node, with its type and labels, and no other.
func TestMetricsDocs(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, measured(), authority, nil)
	code, body := get(t, web(t, authority, withRoles(t, authority, "node:reader")), "https://"+api.Address+server.MetricsPath)
	if code != http.StatusOK {
		t.Fatalf("got %d, %s", code, body)
	}
	types, got := map[string]string{}, map[string]string{}
	label := regexp.MustCompile(`([a-z_]+)="`)
	for line := range strings.Lines(body) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, kind, _ := strings.Cut(strings.TrimSpace(rest), " ")
			types[name] = kind
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		row := types[name] + ":"
		for _, match := range label.FindAllStringSubmatch(line, -1) {
			row += " " + match[1]
		}
		if before, seen := got[name]; seen && before != row {
			t.Errorf("%s has samples with other labels: %s, and %s", name, before, row)
		}
		got[name] = row
	}
	for name := range types {
		if got[name] == "" {
			t.Errorf("the node of this test has no sample of %s", name)
		}
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `cyvive_") || len(cells) != 6 {
			continue
		}
		row := strings.TrimSpace(cells[2]) + ":"
		for _, name := range strings.FieldsFunc(cells[3], func(r rune) bool { return strings.ContainsRune(" ,`", r) }) {
			row += " " + name
		}
		want[strings.Trim(cells[1], " `")] = row
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("docs/metrics.md is not what a node tells (-node +docs):\n%s", diff)
	}
}
