package config

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestEveryFieldIsDescribed walks what Marshal writes, which the round trip holds against what Parse reads, and wants each field described, with a
// documentation line, and a default or the word that it must be given.
func TestEveryFieldIsDescribed(t *testing.T) {
	docs := map[string]reflect.Type{
		"Machine": reflect.TypeFor[machineDoc](), "Network": reflect.TypeFor[networkDoc](), "Cluster": reflect.TypeFor[clusterDoc](),
		"Registries": reflect.TypeFor[registriesDoc](),
		"Pool":       reflect.TypeFor[poolDoc](), "Dataset": reflect.TypeFor[datasetDoc](), "SnapshotSchedule": reflect.TypeFor[snapshotScheduleDoc](),
		"ReplicationJob": reflect.TypeFor[replicationJobDoc](),
		"Owner": reflect.TypeFor[struct {
			Key string `yaml:"key"`
		}](),
		"DiskPassphrase": reflect.TypeFor[struct {
			Passphrase string `yaml:"passphrase"`
		}](),
	}
	for _, d := range written() {
		if d.Doc == "" || docs[d.Kind] == nil {
			t.Errorf("document %s: no documentation line, or not one that is written", d.Kind)
			continue
		}
		compareFields(t, d.Kind, docs[d.Kind], d.Fields)
		delete(docs, d.Kind)
	}
	for kind := range docs {
		t.Errorf("document %s is not described", kind)
	}
}

func compareFields(t *testing.T, path string, written reflect.Type, fields []Field) {
	t.Helper()
	var want, got []string
	for i := range written.NumField() {
		f := written.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if options == "inline" {
			continue
		}
		want = append(want, name)
		at := slices.IndexFunc(fields, func(d Field) bool { return d.Name == name })
		if at < 0 {
			continue
		}
		compareField(t, path+"."+name, f.Type, fields[at])
	}
	for _, f := range fields {
		got = append(got, f.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: fields (-written +described):\n%s", path, d)
	}
}

func compareField(t *testing.T, path string, written reflect.Type, f Field) {
	t.Helper()
	if !strings.HasSuffix(f.Doc, ".") {
		t.Errorf("%s: the documentation line %q is no sentence", path, f.Doc)
	}
	if f.Required && f.Default != "" {
		t.Errorf("%s must be given and has a default", path)
	}
	if list := written.Kind() == reflect.Slice; list != f.List {
		t.Errorf("%s: a list is %v, and described as %v", path, list, f.List)
	} else if list {
		written = written.Elem()
	}
	if written.Kind() == reflect.Map {
		if f.Type != TypeMap && len(f.Fields) == 0 {
			t.Errorf("%s: a mapping of texts, and described as %s without fields", path, f.Type)
		}
		return
	}
	if (written.Kind() == reflect.Int) != (f.Type == TypeCount) {
		t.Errorf("%s: %s, and described as %s", path, written.Kind(), f.Type)
	}
	if object := written.Kind() == reflect.Struct; object != (f.Type == TypeObject) {
		t.Errorf("%s: a mapping is %v, and described as %s", path, object, f.Type)
	} else if object {
		compareFields(t, path, written, f.Fields)
	}
	if (written.Kind() == reflect.Bool) != (f.Type == TypeBool) {
		t.Errorf("%s: %s, and described as %s", path, written.Kind(), f.Type)
	}
}

// TestDescribedDefaults parses documents that have only what they must, and the same with every described default written out: both must come to the
// same.
func TestDescribedDefaults(t *testing.T) {
	cfg := full(t)
	cfg.Machine.CertSANs, cfg.Machine.Profile, cfg.Machine.Upgrade, cfg.Machine.Disk = nil, "", Upgrade{}, Disk{}
	cfg.Machine.Extensions = nil
	cfg.Network = Network{}
	bare := DatasetTree{Name: "tank/data", Recursive: true}
	cfg.Pools = []Pool{{Name: "tank", Autotrim: true, Data: []DiskGroup{{Disks: []DiskSelector{{Serial: "S1"}}}}}}
	cfg.Datasets = []Dataset{{Name: "tank/data"}, {Name: "tank/v", Volume: &Volume{SizeBytes: 1 << 30}}}
	cfg.SnapshotSchedules = []SnapshotSchedule{{Name: "s", Datasets: []DatasetTree{bare}}}
	cfg.ReplicationJobs = []ReplicationJob{{
		Name: "j", UUID: "0b6c2f9e-5a0e-4c39-9a55-0123456789ab", Direction: DirectionPush, Peer: Peer{Address: "node2"}, Sources: []DatasetTree{bare}, Target: "backup",
	}}
	c := cfg.Cluster
	c.PodCIDR, c.ServiceCIDR, c.DNSDomain, c.CertSANs, c.Volumes = netip.Prefix{}, netip.Prefix{}, "", nil, ""
	data, err := Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("user-data", data)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	stream := yaml.NewDecoder(strings.NewReader(string(data)))
	defaults := 0
	for {
		var doc map[string]any
		if err := stream.Decode(&doc); err != nil {
			break
		}
		for _, d := range Documents() {
			if d.Kind == doc["kind"] {
				defaults += fill(doc, d.Fields)
			}
		}
		if err := encoder.Encode(doc); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Parse("user-data", []byte(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, compare()); d != "" || defaults < 5 {
		t.Errorf("with %d defaults written out (-left out +written out):\n%s", defaults, d)
	}
}

// fill writes the described defaults into what was left out.
func fill(doc map[string]any, fields []Field) (n int) {
	for _, f := range fields {
		switch {
		case f.Type == TypeObject && !f.List:
			inner, ok := doc[f.Name].(map[string]any)
			if !ok && slices.ContainsFunc(f.Fields, func(f Field) bool { return f.Required }) {
				continue
			}
			if !ok {
				inner = map[string]any{}
			}
			if added := fill(inner, f.Fields); added > 0 {
				doc[f.Name], n = inner, n+added
			}
		case f.Default != "" && doc[f.Name] == nil:
			doc[f.Name], n = f.fallback(), n+1
		}
	}
	return n
}

var updateSchema = flag.Bool("update-schema", false, "write docs/reference/config.schema.json anew")

// TestSchema holds the published schema against the table.
func TestSchema(t *testing.T) {
	got, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	const path = "../../../docs/reference/config.schema.json"
	if *updateSchema {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("the published schema is not current; -update-schema writes it (-published +now):\n%s", d)
	}
	var decoded map[string]any
	if err := json.Unmarshal(got, &decoded); err != nil {
		t.Fatal(err)
	}
	if kinds := fmt.Sprint(len(decoded["$defs"].(map[string]any))); kinds != "10" {
		t.Errorf("the schema has %s kinds", kinds)
	}
}

// TestDurations: what Parse takes for a duration has the form that the schema says, and is written as it is read.
func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"10m": 10 * time.Minute, "1h": time.Hour, "2m30s": 150 * time.Second, "90s": 90 * time.Second, "1h5s": time.Hour + 5*time.Second} {
		d, ok := parseDuration(text)
		if !ok || d != want {
			t.Errorf("%s: %v, %t", text, d, ok)
		}
		if again, ok := parseDuration(durationText(d)); !ok || again != d {
			t.Errorf("%s is written as %s", text, durationText(d))
		}
	}
	for _, text := range []string{"", "10", "1.5m", "-5m", "300000ms", "5m 3s", "5s3m", "ten minutes", "m", "99999999999h"} {
		if d, ok := parseDuration(text); ok {
			t.Errorf("%q was read as %v", text, d)
		}
	}
	for text, good := range map[string]bool{"59s": false, "1m": true, "60m": true, "3601s": false} {
		doc := "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nupgrade: {deadline: " + text + "}\n"
		_, err := Parse("user-data", []byte(doc))
		if named := strings.Contains(fmt.Sprint(err), "Machine.upgrade.deadline"); named == good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestManyExtensions: a node uses so many at most, so that what the kernel keeps of them has room for all.
func TestManyExtensions(t *testing.T) {
	for n, good := range map[int]bool{MaxExtensions: true, MaxExtensions + 1: false} {
		doc := "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nextensions:\n"
		for i := range n {
			doc += fmt.Sprintf("  - {name: e%d, version: 1.0.0}\n", i)
		}
		_, err := Parse("user-data", []byte(doc))
		if named := strings.Contains(fmt.Sprint(err), "expected at most 32"); named == good {
			t.Errorf("%d extensions: %v", n, err)
		}
	}
}
