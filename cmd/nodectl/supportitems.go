package main

import (
	"bytes"
	"context"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	poolv1 "github.com/cyvive/cyvive/api/proto/pool/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	snapshotv1 "github.com/cyvive/cyvive/api/proto/snapshot/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/output"
	"github.com/cyvive/cyvive/cmd/nodectl/redact"
	"github.com/cyvive/cyvive/cmd/nodectl/support"
)

const (
	// maxItemBytes bounds each file of an archive, maxReadBytes those that are read from
	// the node's file system.
	maxItemBytes = 8 << 20
	maxReadBytes = 1 << 20
	// maxCrashes is how many logs of crashes are taken, the newest.
	maxCrashes = 5
	// maxServices is more than a node has.
	maxServices = 100
)

// supportPaths are files of nodes that are taken. The node refuses what holds secrets.
func supportPaths() []string {
	return []string{
		"/etc/os-release", "/proc/buddyinfo", "/proc/cmdline", "/proc/interrupts", "/proc/modules", "/proc/partitions", "/proc/slabinfo", "/proc/version",
		"/proc/vmstat", "/proc/zoneinfo", "/run/cyvive/resolv.conf",
	}
}

// collector takes the items of one node, one after the other.
type collector struct {
	app     *app
	target  *target
	conn    *connection
	flags   supportFlags
	archive *support.Archive
	node    support.Node

	taken map[string]bool // names of files
	// silent counts the items in a row that the node did not answer.
	silent int
	// broken is why the archive itself cannot be written.
	broken error
}

// run takes everything.
func (c *collector) run(ctx context.Context) {
	c.taken = map[string]bool{}
	c.add(ctx, "version", "version.json", message(getVersion))
	c.add(ctx, "node", "node.json", message(getNode))
	c.add(ctx, "health", "health.json", message(getHealth))
	c.add(ctx, "boots", "boots.json", message(listBoots))
	c.add(ctx, "timeline", "timeline.txt", timelineText)
	c.addCrashes(ctx)
	c.add(ctx, "upgrade", "upgrade.json", message(func(ctx context.Context, conn *connection) (*upgradev1.StatusResponse, error) {
		return upgradev1.NewUpgradeServiceClient(conn).Status(ctx, &upgradev1.StatusRequest{})
	}))
	c.add(ctx, "extensions", "extensions.json", message(listExtensions))
	c.addConfig(ctx)
	c.addServices(ctx)
	c.addPreviousLogs(ctx)
	c.add(ctx, "containers", "containers.json", message(listContainers))
	everything := tailFlags{tail: -1}
	c.add(ctx, "events", "events.txt", lines(streamEvents(everything), eventLine))
	c.add(ctx, "dmesg", "dmesg.txt", lines(streamDmesg(everything), dmesgLine))
	c.addKernel(ctx)
	c.add(ctx, "inventory", "inventory.json", message(getInventory(false)))
	for _, p := range supportPaths() {
		c.add(ctx, "file "+p, path.Join("files", p), fileText(p))
	}
	if c.flags.audit {
		c.add(ctx, "audit", "audit.jsonl", lines(streamEntries(&auditv1.StreamEntriesRequest{}), func(r *auditv1.StreamEntriesResponse) string { return string(r.GetLine()) }))
	}
	c.addStorage(ctx) // the last: what waits for a pool that does not answer is not to keep others from being asked for
}

// addStorage takes how disks, pools and what is in them are. Those come last that look into the pools.
func (c *collector) addStorage(ctx context.Context) {
	c.add(ctx, "disks", "disks.json", message(listVolumes))
	c.add(ctx, "pools", "pools.json", message(listPools))
	c.add(ctx, "cache of pools", "pools-cache.json", message(getCache))
	c.add(ctx, "events of pools", "pools-events.jsonl", lines(func(ctx context.Context, conn *connection) (receiver[*poolv1.StreamEventsResponse], error) {
		return poolv1.NewPoolServiceClient(conn).StreamEvents(ctx, &poolv1.StreamEventsRequest{})
	}, poolEventJSON))
	c.add(ctx, "replication", "replication.json", message(listJobs))
	c.add(ctx, "plan of pools", "pools-plan.json", message(planPools))
	c.add(ctx, "importable pools", "pools-importable.json", message(listImportable))
	c.add(ctx, "datasets", "datasets.json", message(func(ctx context.Context, conn *connection) (*datasetv1.ListResponse, error) {
		return listDatasets(ctx, conn, "")
	}))
	c.add(ctx, "snapshots", "snapshots.json", message(func(ctx context.Context, conn *connection) (*snapshotv1.PreviewPruneResponse, error) {
		preview, err := previewPrune(ctx, conn, "")
		if err == nil { // of those that stay there may be tens of thousands
			preview.Verdicts = slices.DeleteFunc(preview.Verdicts, func(v *snapshotv1.Verdict) bool { return v.GetFate() == snapshotv1.Fate_FATE_STAYS })
		}
		return preview, err
	}))
}

// poolEventJSON is an event with all that the kernel told of it.
func poolEventJSON(e *poolv1.StreamEventsResponse) string {
	var text bytes.Buffer
	if err := output.WriteOne(&text, output.FormatJSON, output.Answer{Message: e}, false); err != nil {
		return poolEventLine(e)
	}
	return text.String()
}

func (c *collector) addKernel(ctx context.Context) {
	client := func(conn *connection) kernelv1.KernelServiceClient { return kernelv1.NewKernelServiceClient(conn) }
	c.add(ctx, "stats", "stats.json", message(func(ctx context.Context, conn *connection) (*kernelv1.GetStatsResponse, error) {
		return client(conn).GetStats(ctx, &kernelv1.GetStatsRequest{})
	}))
	c.add(ctx, "processes", "processes.json", message(func(ctx context.Context, conn *connection) (*kernelv1.ListProcessesResponse, error) {
		return client(conn).ListProcesses(ctx, &kernelv1.ListProcessesRequest{})
	}))
	c.add(ctx, "mounts", "mounts.json", message(func(ctx context.Context, conn *connection) (*kernelv1.ListMountsResponse, error) {
		return client(conn).ListMounts(ctx, &kernelv1.ListMountsRequest{})
	}))
	c.add(ctx, "cgroups", "cgroups.json", message(func(ctx context.Context, conn *connection) (*kernelv1.ListCgroupsResponse, error) {
		return client(conn).ListCgroups(ctx, &kernelv1.ListCgroupsRequest{})
	}))
}

// addConfig takes the current configuration, which the node gives without its secrets,
// and the history of earlier ones.
func (c *collector) addConfig(ctx context.Context) {
	var document string
	c.add(ctx, "config", "config.json", message(func(ctx context.Context, conn *connection) (*configv1.GetResponse, error) {
		got, err := getConfig(0)(ctx, conn)
		if err == nil {
			document, got.Document = got.GetDocument(), "" // it has a file of its own
		}
		return got, err
	}))
	if document != "" {
		c.add(ctx, "config document", "config.yaml", func(context.Context, *connection) (content, error) {
			text, n := redact.Text(document)
			return content{text: text, redactions: n}, nil
		})
	}
	c.add(ctx, "config history", "config-history.json", message(configHistory))
}

// addCrashes takes the list of crashes and the newest of their logs.
func (c *collector) addCrashes(ctx context.Context) {
	var found []*machinev1.Crash
	c.add(ctx, "crashes", "crashes.json", message(func(ctx context.Context, conn *connection) (*machinev1.ListCrashesResponse, error) {
		l, err := listCrashes(ctx, conn)
		found = l.GetCrashes()
		return l, err
	}))
	for _, crash := range found[:min(len(found), maxCrashes)] {
		id := crash.GetFoundByBootId()
		c.add(ctx, "crash "+id, "crashes/"+support.FileName(id)+".txt", lines(streamCrashLog(id, tailFlags{tail: -1}), crashLine))
	}
}

// addServices takes the list of services and the log of each.
func (c *collector) addServices(ctx context.Context) {
	var found []*servicev1.Service
	c.add(ctx, "services", "services.json", message(func(ctx context.Context, conn *connection) (*servicev1.ListServicesResponse, error) {
		l, err := listServices(ctx, conn)
		found = l.GetServices()
		return l, err
	}))
	for _, s := range found[:min(len(found), maxServices)] {
		request := &servicev1.StreamLogsRequest{Service: s.GetName(), Tail: proto.Uint32(uint32(min(c.flags.logLines, math.MaxInt32)))}
		c.add(ctx, "log "+output.Clean(s.GetName()), "logs/"+support.FileName(s.GetName())+".log", lines(
			func(ctx context.Context, conn *connection) (receiver[*servicev1.StreamLogsResponse], error) {
				return servicev1.NewServiceServiceClient(conn).StreamLogs(ctx, request)
			}, (*servicev1.StreamLogsResponse).GetLine))
	}
}

// addPreviousLogs takes the logs of the boot before, of services that do not run now and of
// the kernel too, of which all is taken, as of this boot's.
func (c *collector) addPreviousLogs(ctx context.Context) {
	var found []string
	c.add(ctx, "logs of the boot before", "logs-previous.txt", func(ctx context.Context, conn *connection) (content, error) {
		names, err := previousServices(ctx, conn)
		found = names
		text, n := redact.Text(listText(names))
		return content{text: text, redactions: n}, err
	})
	for _, name := range found {
		f := tailFlags{tail: min(c.flags.logLines, math.MaxInt32)}
		if name == kernelLog {
			f.tail = -1
		}
		from := func(ctx context.Context, conn *connection) (content, error) {
			lacks := ""
			got, err := lines(streamPreviousLogs(name, f, func(_, what string) { lacks = what }), (*servicev1.StreamLogsResponse).GetLine)(ctx, conn)
			if lacks != "" {
				note, n := redact.Text("[" + output.Clean(lacks) + "]\n")
				got.text, got.redactions = note+got.text, got.redactions+n
			}
			return got, err
		}
		c.add(ctx, "log of the boot before "+output.Clean(name), "logs-previous/"+support.FileName(name)+".log", from)
	}
}

// listText is names, one a line.
func listText(names []string) string {
	var text strings.Builder
	for _, name := range names {
		text.WriteString(output.Clean(name) + "\n")
	}
	return text.String()
}

// maxSilent is how many items in a row a node may leave without an answer before the
// others are not asked for.
const maxSilent = 2

// add takes one item into the archive and notes what came of it.
func (c *collector) add(ctx context.Context, name, file string, from take) {
	item := support.Item{Name: name}
	defer func() { c.node.Items = append(c.node.Items, item) }()
	switch {
	case c.broken != nil || ctx.Err() != nil:
		item.Failed = "not asked for: the archive was given up"
		return
	case c.silent == maxSilent:
		item.Failed = "not asked for: the node does not answer"
		return
	}
	begun := time.Now()
	call, cancel := context.WithTimeout(ctx, c.app.timeout)
	defer cancel()
	got, err := from(call, c.conn)
	item.Seconds = float64(time.Since(begun).Milliseconds()) / 1000
	c.judge(&item, err)
	if got.text == "" {
		return
	}
	file = support.Unique(c.taken, file)
	if c.broken = c.archive.Add(path.Join(c.node.Folder, file), []byte(got.text)); c.broken != nil {
		return
	}
	item.File, item.Bytes, item.Dropped, item.Redactions = file, len(got.text), got.dropped, got.redactions
}

// judge puts an error in words. That a node has no such thing is no failure, and one
// that says that it has no answer yet is not silent.
func (c *collector) judge(item *support.Item, err error) {
	code := status.Code(err)
	if code == codes.Unavailable && c.conn.lastCause() != nil || code == codes.DeadlineExceeded {
		c.silent++
		if len(c.node.Items) == 0 {
			c.silent = maxSilent // it did not answer at all
		}
	} else {
		c.silent = 0
	}
	if err == nil {
		return
	}
	reason := output.Clean(c.target.explain(err, c.conn.lastCause()).Error())
	if reasonOf(status.Convert(err)) == "" && (code == codes.FailedPrecondition || code == codes.NotFound || code == codes.Unimplemented) {
		item.Skipped = reason
		return
	}
	item.Failed = reason
}
