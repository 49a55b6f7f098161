package server_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

func pooled() *servertest.Node {
	at := time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)
	create := &poolv1.Operation{Pool: "new", Text: "create pool new; what its disks hold is lost", Needs: "what its disks hold is lost", Waiting: true}
	return &servertest.Node{Pools: servertest.Pools{
		List: &poolv1.ListResponse{Ready: true, ObservedAt: timestamppb.New(at), Pools: []*poolv1.Pool{{
			Name: "tank", Guid: 7, Declared: true, Imported: true, State: poolv1.State_STATE_ONLINE,
			Vdevs: []*poolv1.Vdev{{Name: "mirror-0", Type: "mirror", Children: []*poolv1.Vdev{
				{Name: "/dev/vdb1", Type: "disk", State: poolv1.State_STATE_ONLINE, ChecksumErrors: 3}, {Name: "/dev/vdc1", Type: "disk"},
			}}},
		}, {Name: "new", Declared: true, Waiting: []*poolv1.Operation{create}}}},
		Importable: []*poolv1.Importable{{Name: "old", Guid: 9, Problem: "devices are missing"}},
		Plan:       &poolv1.PlanResponse{Operations: []*poolv1.Operation{{Pool: "tank", Text: "start scrub of pool tank (7)"}, create}},
		Last:       []string{"tank /dev/vdc1"},
		Cache:      &poolv1.GetCacheResponse{SizeBytes: 5, MaxBytes: 9, Hits: 3},
		Events: []*poolv1.StreamEventsResponse{
			{Id: 1, Time: timestamppb.New(at), Class: "sysevent.fs.zfs.pool_import"}, {Id: 2, Time: timestamppb.New(at.Add(time.Second)), Class: "sysevent.fs.zfs.scrub_start"},
		},
	}}
}

// TestPools goes through the life of a pool as a person sees it.
func TestPools(t *testing.T) {
	node := pooled()
	client := poolv1.NewPoolServiceClient(admin(t, node))
	list, err := client.List(t.Context(), &poolv1.ListRequest{})
	check(t, node.Pools.List, list, err)
	importable, err := client.ListImportable(t.Context(), &poolv1.ListImportableRequest{})
	check(t, &poolv1.ListImportableResponse{Pools: node.Pools.Importable}, importable, err)
	plan, err := client.Plan(t.Context(), &poolv1.PlanRequest{})
	check(t, node.Pools.Plan, plan, err)
	cache, err := client.GetCache(t.Context(), &poolv1.GetCacheRequest{})
	check(t, node.Pools.Cache, cache, err)

	confirmed, err := client.Confirm(t.Context(), &poolv1.ConfirmRequest{Pool: "new", Operation: "create pool new; what its disks hold is lost"})
	check(t, &poolv1.ConfirmResponse{}, confirmed, err)
	scrub, err := client.Scrub(t.Context(), &poolv1.ScrubRequest{Pool: "tank", Action: poolv1.ScrubAction_SCRUB_ACTION_START})
	check(t, &poolv1.ScrubResponse{}, scrub, err)
	trim, err := client.Trim(t.Context(), &poolv1.TrimRequest{Pool: "tank", Action: poolv1.TrimAction_TRIM_ACTION_STOP})
	check(t, &poolv1.TrimResponse{}, trim, err)
	cleared, err := client.Clear(t.Context(), &poolv1.ClearRequest{Pool: "tank", Device: "/dev/vdb1"})
	check(t, &poolv1.ClearResponse{}, cleared, err)
	off, err := client.Offline(t.Context(), &poolv1.OfflineRequest{Pool: "tank", Device: "/dev/vdb1"})
	check(t, &poolv1.OfflineResponse{Redundancy: 1}, off, err)
	on, err := client.Online(t.Context(), &poolv1.OnlineRequest{Pool: "tank", Device: "/dev/vdb1"})
	check(t, &poolv1.OnlineResponse{}, on, err)
	off, err = client.Offline(t.Context(), &poolv1.OfflineRequest{Pool: "tank", Device: "/dev/vdc1", Confirm: "tank"})
	check(t, &poolv1.OfflineResponse{}, off, err)
	calls := strings.Join(node.Calls(), "\n")
	for _, want := range []string{
		"confirm for pool new by ", ": create pool new; what its disks hold is lost", "scrub pool tank: SCRUB_ACTION_START", "trim pool tank: TRIM_ACTION_STOP",
		"clear pool tank /dev/vdb1", `offline /dev/vdc1 of pool tank, "tank"`, "online /dev/vdb1 of pool tank",
	} {
		if !strings.Contains(calls, want) {
			t.Errorf("calls lack %q:\n%s", want, calls)
		}
	}
}

func TestPoolRefusals(t *testing.T) {
	node := pooled()
	client := poolv1.NewPoolServiceClient(admin(t, node))
	confirm := func(pool, operation string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Confirm(ctx, &poolv1.ConfirmRequest{Pool: pool, Operation: operation})
			return err
		}
	}
	scrub := func(pool string, a poolv1.ScrubAction) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Scrub(ctx, &poolv1.ScrubRequest{Pool: pool, Action: a})
			return err
		}
	}
	trim := func(pool string, a poolv1.TrimAction) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Trim(ctx, &poolv1.TrimRequest{Pool: pool, Action: a})
			return err
		}
	}
	offline := func(pool, device, confirm string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.Offline(ctx, &poolv1.OfflineRequest{Pool: pool, Device: device, Confirm: confirm})
			return err
		}
	}
	const text = "create pool new; what its disks hold is lost"
	for name, c := range map[string]struct {
		call func(context.Context) error
		want codes.Code
	}{
		"confirm without a pool":         {confirm("", text), codes.InvalidArgument},
		"confirm without an operation":   {confirm("new", ""), codes.InvalidArgument},
		"confirm by another pool's name": {confirm("tank", text), codes.FailedPrecondition},
		"confirm another operation":      {confirm("new", text+" and more"), codes.FailedPrecondition},
		"confirm what needs none":        {confirm("tank", "start scrub of pool tank (7)"), codes.FailedPrecondition},
		"scrub nothing":                  {scrub("", poolv1.ScrubAction_SCRUB_ACTION_START), codes.InvalidArgument},
		"scrub somehow":                  {scrub("tank", 0), codes.InvalidArgument},
		"scrub in a way of the future":   {scrub("tank", 77), codes.InvalidArgument},
		"scrub what is not there":        {scrub("nosuch", poolv1.ScrubAction_SCRUB_ACTION_START), codes.NotFound},
		"pause no scrub":                 {scrub("tank", poolv1.ScrubAction_SCRUB_ACTION_PAUSE), codes.FailedPrecondition},
		"trim somehow":                   {trim("tank", 0), codes.InvalidArgument},
		"trim what is not imported":      {trim("new", poolv1.TrimAction_TRIM_ACTION_START), codes.NotFound},
		"offline no device":              {offline("tank", "", ""), codes.InvalidArgument},
		"offline another device":         {offline("tank", "/dev/vdz", ""), codes.NotFound},
		"offline the last one":           {offline("tank", "/dev/vdc1", ""), codes.FailedPrecondition},
		"offline by another name":        {offline("tank", "/dev/vdc1", "node"), codes.InvalidArgument},
		"clear without a pool": {func(ctx context.Context) error {
			_, err := client.Clear(ctx, &poolv1.ClearRequest{Device: "/dev/vdb1"})
			return err
		}, codes.InvalidArgument},
		"online no device": {func(ctx context.Context) error {
			_, err := client.Online(ctx, &poolv1.OnlineRequest{Pool: "tank"})
			return err
		}, codes.InvalidArgument},
		"events after half an event": {func(ctx context.Context) error {
			stream, err := client.StreamEvents(ctx, &poolv1.StreamEventsRequest{AfterId: 1})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument},
		"events after no time": {func(ctx context.Context) error {
			stream, err := client.StreamEvents(ctx, &poolv1.StreamEventsRequest{AfterId: 1, AfterTime: &timestamppb.Timestamp{Nanos: -1}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}, codes.InvalidArgument},
	} {
		if err := c.call(t.Context()); status.Code(err) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if v := node.Pools.List.Pools[0].Vdevs[0].Children[1]; v.State == poolv1.State_STATE_OFFLINE {
		t.Error("a device was taken offline by a call that was refused")
	}
}

// TestPoolMetrics: monitoring sees what a person sees, and a node without pools has none of it.
func TestPoolMetrics(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	reader := web(t, authority, withRoles(t, authority, "node:reader"))
	text := func(node *servertest.Node) string {
		t.Helper()
		node.StatsValue = &kernelv1.Stats{}
		api := servertest.Start(t, node, authority, nil)
		code, body := get(t, reader, "https://"+api.Address+server.MetricsPath)
		if code != http.StatusOK {
			t.Fatalf("got %d, %s", code, body)
		}
		return body
	}
	node := pooled()
	node.Pools.List.Pools[0].SizeBytes, node.Pools.List.Pools[0].FragmentationPercent = 8<<30, new(uint32(3))
	node.Pools.List.Pools[0].Scan = &poolv1.Scan{
		Function: poolv1.Function_FUNCTION_RESILVER, Progress: poolv1.Progress_PROGRESS_RUNNING, DoneBytes: 1, TotalBytes: 4, Remaining: durationpb.New(90 * time.Second),
	}
	node.Pools.List.Pools = append(node.Pools.List.Pools, &poolv1.Pool{Name: "done", Imported: true, Scan: &poolv1.Scan{
		Function: poolv1.Function_FUNCTION_SCRUB, Progress: poolv1.Progress_PROGRESS_FINISHED, EndedAt: timestamppb.New(time.Unix(1_800_000_000, 0)), Errors: 2, RepairedBytes: 512,
	}}, &poolv1.Pool{Name: "stopped", Imported: true, Scan: &poolv1.Scan{
		Function: poolv1.Function_FUNCTION_SCRUB, Progress: poolv1.Progress_PROGRESS_CANCELED, EndedAt: timestamppb.New(time.Unix(1_800_000_900, 0)),
	}}, &poolv1.Pool{Name: "fresh", Imported: true})
	node.Datasets.List = []*datasetv1.Dataset{
		{Name: "tank/a", Declared: true, UsedBytes: 5, AvailableBytes: 2, ReferencedBytes: 4, QuotaBytes: 7, RefquotaBytes: 6}, {Name: "tank/v", Declared: true, VolumeBytes: 8},
		{Name: "tank/other", UsedBytes: 9},
	}
	node.Pools.List.Pools[0].Vdevs[0].Children[0].SlowIos = 2
	body := text(node)
	for _, line := range []string{
		`cyvive_pool_healthy{pool="tank"} 0`, `cyvive_pool_imported{pool="tank"} 1`, `cyvive_pool_imported{pool="new"} 0`, `cyvive_pool_waiting{pool="new"} 1`,
		`cyvive_pool_bytes{pool="tank",kind="size"} 8.589934592e+09`, `cyvive_pool_fragmentation_percent{pool="tank"} 3`, `cyvive_pool_data_errors{pool="tank"} 0`,
		`cyvive_pool_scan_bytes{pool="tank",kind="total"} 4`, `cyvive_pool_device_errors{pool="tank",device="/dev/vdb1",kind="checksum"} 3`,
		`cyvive_pool_device_slow_ios{pool="tank",device="/dev/vdb1"} 2`,
		`cyvive_arc_bytes{kind="limit"} 9`, `cyvive_arc_reads_total{kind="hit"} 3`,
		`cyvive_pool_scan_remaining_seconds{pool="tank",function="resilver"} 90`, `cyvive_pool_scan_errors{pool="tank",function="resilver"} 0`,
		`cyvive_pool_scan_ended_timestamp_seconds{pool="done",function="scrub",outcome="finished"} 1.8e+09`, `cyvive_pool_scan_errors{pool="done",function="scrub"} 2`,
		`cyvive_pool_scan_repaired_bytes{pool="done",function="scrub"} 512`,
		`cyvive_pool_scan_ended_timestamp_seconds{pool="stopped",function="scrub",outcome="canceled"} 1.8000009e+09`,
		`cyvive_dataset_bytes{dataset="tank/a",kind="used"} 5`, `cyvive_dataset_bytes{dataset="tank/a",kind="available"} 2`,
		`cyvive_dataset_bytes{dataset="tank/a",kind="referenced"} 4`, `cyvive_dataset_bytes{dataset="tank/a",kind="quota"} 7`,
		`cyvive_dataset_bytes{dataset="tank/a",kind="refquota"} 6`, `cyvive_dataset_bytes{dataset="tank/v",kind="size"} 8`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	for what, none := range map[string]string{
		"a pool that is not imported has a size": `cyvive_pool_bytes{pool="new"`, "what goes on has ended": `scan_ended_timestamp_seconds{pool="tank"`,
		"what has ended goes on": `scan_remaining_seconds{pool="done"`, "what was never scrubbed has a scrub": `{pool="fresh",function=`,
		"a dataset that is not declared is there": "tank/other", "a dataset without a quota has one": `{dataset="tank/v",kind="quota"`,
	} {
		if strings.Contains(body, none) {
			t.Errorf("%s: %s", what, none)
		}
	}
	if body := text(&servertest.Node{}); strings.Contains(body, "cyvive_pool") || strings.Contains(body, "cyvive_arc") || strings.Contains(body, "cyvive_dataset") {
		t.Error("a node without pools has metrics of them")
	}
}

// TestReplicationMetrics: jobs and schedules that fail are in the metrics with the reason, since when, and when they are tried again.
func TestReplicationMetrics(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	reader := web(t, authority, withRoles(t, authority, "node:reader"))
	since, next := timestamppb.New(time.Unix(1_800_000_000, 0)), timestamppb.New(time.Unix(1_800_000_900, 0))
	node := &servertest.Node{StatsValue: &kernelv1.Stats{}}
	node.Replication.Jobs = []*replicationv1.Job{
		{Name: "offsite", Runs: true, Problem: `no route to "node2"`, FailingSince: since, NextAt: next}, {Name: "local", Runs: true, NextAt: next, SucceededAt: since, SentBytes: 4096},
		{Name: "in", HeardAt: next},
	}
	node.Datasets.Schedules = []*snapshotv1.Schedule{
		{Name: "hourly", Problems: []string{"a: no room", "b: no room"}, FailingSince: since, RetryAt: next}, {Name: "daily", Problems: []string{"pauses for c"}, NewestAt: since},
	}
	api := servertest.Start(t, node, authority, nil)
	code, body := get(t, reader, "https://"+api.Address+server.MetricsPath)
	if code != http.StatusOK {
		t.Fatalf("got %d, %s", code, body)
	}
	for _, line := range []string{
		`cyvive_replication_failing{job="offsite"} 1`, `cyvive_replication_failing{job="local"} 0`, `cyvive_replication_failing{job="in"} 0`,
		`cyvive_replication_failing_since_seconds{job="offsite",reason="no route to \"node2\""} 1.8e+09`,
		`cyvive_replication_next_attempt_seconds{job="offsite"} 1.8000009e+09`, `cyvive_replication_next_attempt_seconds{job="local"} 1.8000009e+09`,
		`cyvive_snapshots_failing{schedule="hourly"} 1`, `cyvive_snapshots_failing{schedule="daily"} 0`,
		`cyvive_snapshots_failing_since_seconds{schedule="hourly",reason="a: no room; b: no room"} 1.8e+09`,
		`cyvive_snapshots_next_attempt_seconds{schedule="hourly"} 1.8000009e+09`, `cyvive_snapshots_newest_timestamp_seconds{schedule="daily"} 1.8e+09`,
		`cyvive_replication_succeeded_timestamp_seconds{job="local"} 1.8e+09`, `cyvive_replication_sent_bytes_total{job="local"} 4096`,
		`cyvive_replication_sent_bytes_total{job="offsite"} 0`, `cyvive_replication_heard_timestamp_seconds{job="in"} 1.8000009e+09`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	for _, none := range []string{
		`cyvive_replication_next_attempt_seconds{job="in"}`, `failing_since_seconds{job="local"`, `failing_since_seconds{schedule="daily"`,
		`succeeded_timestamp_seconds{job="offsite"`, `sent_bytes_total{job="in"`, `heard_timestamp_seconds{job="local"`, `newest_timestamp_seconds{schedule="hourly"`,
	} {
		if strings.Contains(body, none) {
			t.Errorf("the metrics have %s", none)
		}
	}
}

// TestPoolEvents reads events, and goes on behind one of them.
func TestPoolEvents(t *testing.T) {
	node := pooled()
	client := poolv1.NewPoolServiceClient(admin(t, node))
	for name, c := range map[string]struct {
		req  *poolv1.StreamEventsRequest
		want []uint64
	}{
		"all":       {&poolv1.StreamEventsRequest{}, []uint64{1, 2}},
		"newest":    {&poolv1.StreamEventsRequest{Tail: new(uint32(1))}, []uint64{2}},
		"goes on":   {&poolv1.StreamEventsRequest{AfterId: 1, AfterTime: node.Pools.Events[0].Time}, []uint64{2}},
		"next boot": {&poolv1.StreamEventsRequest{AfterId: 900, AfterTime: timestamppb.New(time.Unix(1000, 0))}, []uint64{1, 2}},
	} {
		stream, err := client.StreamEvents(t.Context(), c.req)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, e := range receiveAll(t, stream) {
			got = append(got, e.GetId())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
