package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/size"
)

// pools, datasets, schedules and jobs give every field of their kinds somewhere.
func pools() []Pool {
	disk := DiskSelector{
		Sizes: []string{">=100GB", "<=2TiB"}, Type: "nvme", Model: "Fast*", Serial: "S?1", WWN: "eui.01", Bus: "nvme", Path: "pci0000:00/0000:00:04.0*",
	}
	serial := func(s string) DiskSelector { return DiskSelector{Serial: s, Type: "ssd"} }
	return []Pool{{
		Name: "tank", GUID: 17_000_000_000_000_000_000, Presence: PoolExported,
		Data:    []DiskGroup{{LayoutRAIDZ2, []DiskSelector{disk, serial("a"), serial("b")}}, {LayoutMirror, []DiskSelector{serial("c"), serial("d")}}},
		Special: []DiskGroup{{LayoutMirror, []DiskSelector{serial("e"), disk}}}, Dedup: []DiskGroup{{LayoutSingle, []DiskSelector{disk}}},
		Log: []DiskGroup{{LayoutSingle, []DiskSelector{disk}}}, Cache: []DiskSelector{disk}, Spares: []DiskSelector{disk, serial("f")},
		Ashift: 12, Autoexpand: true, Compatibility: "off", Failmode: "continue", Multihost: true, ReadOnly: true, Rewind: true, Encryption: PoolEncryptionLUKS2,
		Scrub: Schedule{Unit: Monthly, Day: 1, Hour: 3}, Trim: Schedule{Unit: Weekly, Weekday: time.Sunday},
	}, {
		Name: "fast", Presence: PoolImported, Autotrim: true, Compatibility: defaultCompatibility, Failmode: "wait", Encryption: PoolEncryptionAuto,
	}}
}

func datasets() []Dataset {
	all := map[string]string{}
	for _, p := range properties() {
		switch {
		case p.size != nil:
			all[p.name] = "1048576"
		case p.name == "compression":
			all[p.name] = "zstd-9"
		case p.name == "mountpoint":
			all[p.name] = "/var/mnt/data"
		default:
			all[p.name] = p.values[len(p.values)-1]
		}
	}
	return []Dataset{
		{Name: "fast/data", Properties: all, UserProperties: map[string]string{"org.example:owner": "me", "org.example:empty": ""}},
		{Name: "fast/data/volume", Volume: &Volume{10 << 30, 16 << 10, true}, Properties: map[string]string{"compression": "lz4", "reservation": "1073741825"}},
		{Name: "node/plane/volumes/x"},
	}
}

func schedules() []SnapshotSchedule {
	return []SnapshotSchedule{{
		Name: "often", Datasets: []DatasetTree{{"fast/data", true, []string{"fast/data/volume"}}, {"node/plane/volumes/x", false, nil}},
		Schedule: Schedule{Every: 15 * time.Minute}, Prefix: "auto-",
		Keep: Keep{4, 24, 7, 4, 12, 2, "^keep|-1$", 90 * time.Minute},
	}, {
		Name: "replica", Datasets: []DatasetTree{{"fast/replica", true, nil}}, Prefix: "replica-",
	}}
}

func jobs(t testing.TB) []ReplicationJob {
	t.Helper()
	return []ReplicationJob{{
		Name: "out", UUID: "0b6c2f9e-5a0e-4c39-9a55-0123456789ab", Direction: DirectionPush,
		Peer:    Peer{"10.5.0.3:50000", "node2.example", authority(t, "peer").Certificate},
		Sources: []DatasetTree{{"fast", true, []string{"fast/replica"}}}, Target: "backup/node1", Guarantee: Guarantees{GuaranteeIncremental, GuaranteeNone},
		BandwidthBytes: 100 << 20, Prefix: "auto-", Schedule: Schedule{Unit: Hourly, Minute: 30},
		Run: RunHere, Compression: CompressionNone, History: HistoryLatest, Verify: true,
	}, {
		Name: "in", UUID: "1b6c2f9e-5a0e-4c39-9a55-0123456789ab", Direction: DirectionPull, Peer: Peer{"[fd00::3]:50001", "fd00::3", ""},
		Sources: []DatasetTree{{"other", true, nil}}, Target: "fast/replica", Guarantee: Guarantees{GuaranteeResumability, GuaranteeResumability},
		Promoted: true, PeerRetired: true, Run: RunPeer, Compression: CompressionStored, History: HistoryAll,
	}}
}

// TestDocumentedExamples: what the guide shows is a configuration, with a Machine document beside it.
func TestDocumentedExamples(t *testing.T) {
	guide, err := os.ReadFile("../../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := Marshal(&Config{Machine: full(t).Machine})
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(guide), "```yaml\n")[1:]
	for i, block := range blocks {
		example, _, _ := strings.Cut(block, "```")
		if _, err := Parse(fmt.Sprintf("example %d", i+1), []byte(example+"---\n"+string(machine))); err != nil {
			t.Error(err)
		}
		for _, doc := range instances(t, example) {
			if err := validate(t, compiled(t), doc); err != nil {
				t.Errorf("example %d, %s: %v", i+1, doc["kind"], err)
			}
		}
	}
	if len(blocks) != 4 {
		t.Errorf("%d examples, want one of each kind", len(blocks))
	}
}

// TestPromoted: after a failover what was received is declared, beside the job.
func TestPromoted(t *testing.T) {
	machine, err := Marshal(&Config{Machine: full(t).Machine})
	if err != nil {
		t.Fatal(err)
	}
	const job = "apiVersion: cyvive.dev/v1alpha1\nkind: ReplicationJob\nname: in\nuuid: 2f5c7f0e-8f43-4f0a-9a3d-5b8a3b1c7e10\n" +
		"peer: {address: 10.5.0.9}\nsources: [{name: tank/data}]\ntarget: tank/in\n"
	const rest = "---\napiVersion: cyvive.dev/v1alpha1\nkind: Pool\nname: tank\n---\n" +
		"apiVersion: cyvive.dev/v1alpha1\nkind: Dataset\nname: tank/in/tank/data\n---\n" +
		"apiVersion: cyvive.dev/v1alpha1\nkind: SnapshotSchedule\nname: s\ndatasets: [{name: tank/in}]\nschedule: daily\n---\n"
	for how, says := range map[string][]string{
		"direction: pull\n":                    {"Dataset.name", "SnapshotSchedule.schedule"},
		"direction: pull\npromoted: true\n":    nil,
		"direction: push\npromoted: true\n":    {"ReplicationJob.promoted"},
		"direction: push\npeerRetired: true\n": {"ReplicationJob.peerRetired"},
	} {
		cfg, err := Parse("user-data", []byte(job+how+rest+string(machine)))
		if says == nil {
			if err != nil || len(cfg.ReplicationJobs) != 1 || !cfg.ReplicationJobs[0].Promoted {
				t.Errorf("%q: %v", how, err)
			}
			continue
		}
		for _, field := range says {
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%q: got %v, want one of %s", how, err, field)
			}
		}
	}
}

func TestSchedules(t *testing.T) {
	for text, want := range map[string]Schedule{
		"every 15m": {Every: 15 * time.Minute}, "every 1h30m": {Every: 90 * time.Minute}, "every 10s": {Every: 10 * time.Second},
		"hourly": {Unit: Hourly}, "hourly at :30": {Unit: Hourly, Minute: 30}, "daily": {Unit: Daily}, "daily at 23:59": {Unit: Daily, Hour: 23, Minute: 59},
		"weekly": {Unit: Weekly, Weekday: time.Monday}, "weekly on sunday": {Unit: Weekly}, "weekly on friday at 03:00": {Unit: Weekly, Weekday: time.Friday, Hour: 3},
		"monthly": {Unit: Monthly, Day: 1}, "monthly on 31 at 00:30": {Unit: Monthly, Day: 31, Minute: 30}, "monthly at 01:00": {Unit: Monthly, Day: 1, Hour: 1},
		"yearly": {Unit: Yearly, Month: time.January, Day: 1}, "yearly on 02-29 at 12:00": {Unit: Yearly, Month: time.February, Day: 29, Hour: 12},
	} {
		got, ok := parseSchedule(text)
		if !ok || got != want {
			t.Errorf("%q: got %+v, %t", text, got, ok)
		}
		if again, ok := parseSchedule(got.String()); !ok || again != want {
			t.Errorf("%q is written as %q", text, got)
		}
	}
	for _, text := range []string{
		"", "15m", "every", "every 9s", "every 0s", "every 9000h", "every 1d", "every 1h 5m", "hourly at 30", "hourly at :60", "daily on monday", "daily at 24:00",
		"daily at 3:00", "weekly on mon", "weekly at 03:00 on monday", "monthly on 0", "monthly on 32", "yearly on 02-30", "yearly on 13-01", "yearly on 1-1",
		"fortnightly", "Daily", "daily ", "daily at 03:00 at 04:00", "yearly on 04-31",
	} {
		if s, ok := parseSchedule(text); ok {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
	if s := (Schedule{}).String(); s != "" {
		t.Errorf("none is written as %q", s)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{"1": 1, "512": 512, "1KiB": 1024, "10GiB": 10 << 30, "3TiB": 3 << 40, "8191PiB": 8191 << 50} {
		got, ok := parseSize(text)
		if !ok || got != want {
			t.Errorf("%s: %d, %t", text, got, ok)
		}
		if again, ok := parseSize(size.Text(want)); !ok || again != want {
			t.Errorf("%s is written as %s", text, size.Text(want))
		}
	}
	for _, text := range []string{"", "0", "-1", "1K", "1GB", "1.5GiB", "1 GiB", "8192PiB", "99999999999999999999", "9999999999999999999", "KiB", "1KiBKiB", "01"} {
		if n, ok := parseSize(text); ok {
			t.Errorf("%q was read as %d", text, n)
		}
	}
}

func TestZFSNames(t *testing.T) {
	long := strings.Repeat("a", 100)
	for name, good := range map[string]bool{
		"tank": true, "tank/a": true, "tank/a.b_c:d-e": true, "tank/.a": true, "t1": true, "tank" + strings.Repeat("/a", 48): true,
		"": false, "/tank": false, "tank/": false, "tank//a": false, "tank/a@b": false, "tank/a#b": false, "tank/a b": false, "tank/a%b": false, "tank/.": false,
		"tank/../x": false, "1tank/a": false, "mirror": false, "mirror1/a": false, "raidz/x": false, "draid2/x": false, "spares/x": false, "log/x": false, "logs/x": true,
		"c0/x": false, "cat/x": true, "tank/ä": false, "tank/" + long + "/" + long: false, "tank" + strings.Repeat("/a", 49): false, "-tank/x": false,
	} {
		if isDatasetName(name) != good {
			t.Errorf("%q is taken: %t", name, !good)
		}
	}
}

// TestMergeByName: of several documents of a kind a patch is for the one of its name.
func TestMergeByName(t *testing.T) {
	const two = "kind: Dataset\nname: tank/a\nproperties:\n  quota: 1GiB\n  atime: off\n---\nkind: Dataset\nname: tank/b\n"
	for name, test := range map[string]struct{ patch, want string }{
		"a field":      {"kind: Dataset\nname: tank/a\nproperties: {quota: 2GiB}\n", strings.Replace(two, "1GiB", "2GiB", 1)},
		"a field less": {"kind: Dataset\nname: tank/a\nproperties: {quota: null}\n", strings.Replace(two, "  quota: 1GiB\n", "", 1)},
		"another":      {"kind: Dataset\nname: tank/c\n", two + "---\nkind: Dataset\nname: tank/c\n"},
		"one less":     {"kind: Dataset\nname: tank/a\n$patch: delete\n", "kind: Dataset\nname: tank/b\n"},
		"none there":   {"kind: Dataset\nname: tank/d\n$patch: delete\n", two},
	} {
		got, err := Merge([]byte(two), []byte(test.patch))
		if d := cmp.Diff(test.want, string(got)); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
	for _, patch := range []string{"kind: Dataset\nproperties: {quota: 2GiB}\n", "kind: Dataset\nname: [x]\n"} {
		if _, err := Merge([]byte(two), []byte(patch)); err == nil || !strings.Contains(err.Error(), "Dataset.name: missing, expected the name of the document") {
			t.Errorf("%q: %v", patch, err)
		}
	}
}

// TestRedactLeavesUserProperties: they are no secrets, but what stands in their place in another form may be.
func TestRedactLeavesUserProperties(t *testing.T) {
	shown, err := Redact([]byte("kind: Dataset\nname: tank/a\nuserProperties:\n  a:b: seen\n  c:d: [hunter2]\n"))
	if text := string(shown); err != nil || !strings.Contains(text, "a:b: seen") || !strings.Contains(text, "tank/a") || strings.Contains(text, "hunter2") {
		t.Errorf("%v\n%s", err, shown)
	}
}
