package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	kernelv1 "github.com/cyvive/cyvive/api/proto/kernel/v1"
	"github.com/cyvive/cyvive/cmd/nodectl/contexts"
	"github.com/cyvive/cyvive/cmd/nodectl/redact"
	"github.com/cyvive/cyvive/cmd/nodectl/support"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/files"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// exampleInventory has one of each part.
func exampleInventory() *inventoryv1.Inventory {
	return &inventoryv1.Inventory{
		System:   &inventoryv1.System{Vendor: "QEMU", Product: "Standard PC", Uuid: "11111111-2222-3333-4444-555555555555", Virtual: true},
		Firmware: &inventoryv1.Firmware{Vendor: "EDK II", Version: "2026.02", Date: "02/11/2026", Uefi: true, SecureBoot: inventoryv1.Toggle_TOGGLE_ON, KernelLockdown: "integrity"},
		Processors: []*inventoryv1.Processor{{
			Vendor: "GenuineIntel", Model: "Xeon", Identity: "06-55-06", Cores: 2, Threads: 4, Microcode: "0x1",
			Vulnerabilities: []*inventoryv1.Vulnerability{{Name: "meltdown", State: "Not affected"}, {Name: "mds", State: "Vulnerable: no microcode"}},
		}},
		Memory: &inventoryv1.Memory{TotalBytes: 4 << 30, Slots: 2, ErrorCorrection: "multi-bit ECC", Modules: []*inventoryv1.MemoryModule{
			{Locator: "DIMM_A1", SizeBytes: 4 << 30, Type: "DDR5", FormFactor: "DIMM", ConfiguredSpeedMts: 4800, Manufacturer: "Example", PartNumber: "X1", Serial: "77"},
		}},
		Disks: []*inventoryv1.Disk{
			{
				Name: "nvme0n1", Model: "EXAMPLE", Serial: "S1", Wwn: "eui.01", Firmware: "F1", Bus: inventoryv1.DiskBus_DISK_BUS_NVME, Transport: "pcie", SizeBytes: 1 << 40, Path: "pci0000:00/0000:00:01.0",
				Health: &inventoryv1.DiskHealth{Verdict: inventoryv1.DiskVerdict_DISK_VERDICT_WARNING, Warnings: []string{"2 errors that it could not correct"}, UsedPercent: proto.Uint32(3), TemperatureCelsius: proto.Int32(38)},
			},
			{Name: "vda", Bus: inventoryv1.DiskBus_DISK_BUS_VIRTIO, SizeBytes: 10 << 30, Rotational: true, Health: &inventoryv1.DiskHealth{Unavailable: "a hypervisor's disk keeps no health"}},
		},
		Interfaces: []*inventoryv1.NetworkInterface{
			{Name: "eth0", MacAddress: "52:54:00:12:34:56", Driver: "virtio_net", PciAddress: "0000:00:03.0", Carrier: proto.Bool(true), SpeedMbps: 10000},
			{Name: "eth1", MacAddress: "52:54:00:12:34:57", Firmware: "22.1"},
		},
		PciDevices: []*inventoryv1.PCIDevice{{Address: "0000:00:03.0", Class: "020000", Vendor: "1af4", Device: "1041", Driver: "virtio-pci"}},
		Tpm:        &inventoryv1.TPM{MajorVersion: 2, Manufacturer: "IBM", Model: "SW TPM", Firmware: "8215.1.0.0", PcrBanks: []string{"sha256"}},
		Problems:   []string{"read the SMBIOS tables: permission denied"},
	}
}

// cmdAgeKey makes a key pair: agekey VARIABLE FILE puts the public one into the variable.
func cmdAgeKey(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Setenv(args[0], id.Recipient().String())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(id.String()+"\n"), 0o600))
}

// cmdUnpack opens an archive: unpack FILE FOLDER [KEYFILE]. The name of its top folder,
// which has the time in it, is left away, and that of a node's folder is of its variable
// without the port.
func cmdUnpack(ts *testscript.TestScript, fails bool, args []string) {
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	var ids []age.Identity
	if len(args) > 2 {
		ids, err = age.ParseIdentities(strings.NewReader(ts.ReadFile(args[2])))
		ts.Check(err)
	}
	opened, err := open(data, ids...)
	if fails {
		if err == nil {
			ts.Fatalf("%s can be opened", args[0])
		}
		return
	}
	ts.Check(err)
	for name, text := range opened {
		for _, node := range []string{"NODE1", "NODE2"} {
			name = strings.Replace(name, support.FileName(ts.Getenv(node)), node, 1)
		}
		path := filepath.Join(ts.MkAbs(args[1]), name)
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, text, 0o600))
	}
}

// open returns the files of an archive without its top folder.
func open(data []byte, ids ...age.Identity) (map[string][]byte, error) {
	var r io.Reader = bytes.NewReader(data)
	if len(ids) > 0 {
		var err error
		if r, err = age.Decrypt(r, ids...); err != nil {
			return nil, err
		}
	}
	packed, err := zstd.NewReader(r)
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	out := map[string][]byte{}
	for archive := tar.NewReader(packed); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg || header.Mode != 0o600 || !filepath.IsLocal(header.Name) {
			return nil, fmt.Errorf("entry %+v", header)
		}
		_, name, _ := strings.Cut(header.Name, "/")
		if out[name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}

// operatorOf serves a node and returns a nodectl that knows it, with a certificate of
// node:operator.
func operatorOf(t *testing.T, n *servertest.Node) *app {
	t.Helper()
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, n, authority, nil)
	pair, err := authority.Issue(pki.Request{CommonName: "alice", Organizations: []string{"node:operator"}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(&contexts.File{Current: "test", Contexts: map[string]*contexts.Context{"test": {
		Nodes: []string{api.Address}, CA: string(authority.CertificatePEM()), Certificate: string(pair.CertificatePEM), Key: string(pair.KeyPEM),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "contexts.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return &app{stdout: io.Discard, stderr: &bytes.Buffer{}, now: time.Now, getenv: func(name string) string {
		return map[string]string{"NODECTL_CONFIG": path}[name]
	}}
}

// TestSupportHoldsNoSecret plants secrets wherever the API tells something, and wherever a
// node has them and it does not.
func TestSupportHoldsNoSecret(t *testing.T) {
	const secret = "hunter2-4Zq9xV7kPlanted"
	pem := "-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(secret+"\n", 3) + "-----END PRIVATE KEY-----"
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/cmdline":           "quiet cyvive.config=https://boot:" + secret + "@10.0.0.1/c.yaml?token=" + secret + "\n",
		"proc/modules":           "zfs 1 0\n",
		"proc/version":           pem, // the node itself refuses a file that holds a key
		"proc/1/environ":         "DB_PASSWORD=" + secret,
		"state/config.yaml":      "key: " + secret,
		"etc/os-release":         "ID=cyvive\n",
		"run/cyvive/resolv.conf": "nameserver 10.0.0.1\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	node := exampleNode()
	node.FilesFrom = files.Reader{Root: root}
	node.ProcessList = append(node.ProcessList,
		&kernelv1.Process{Pid: 99, CommandLine: "app --token " + secret + " --db-password=" + secret}, &kernelv1.Process{Pid: 100, CommandLine: "env AWS_SECRET_ACCESS_KEY=" + secret})
	node.Records = append(node.Records, server.Record{Message: "Kernel command line: cyvive.config=https://boot:" + secret + "@10.0.0.1/"})
	node.Lines["etcd"] = append(strings.Split(pem, "\n"), `{"msg":"login","password":"`+secret+`"}`, "Authorization: Bearer "+secret, "end of the log")
	node.Checks = append(node.Checks, server.Check{Name: "config", Reason: "fetch https://boot:" + secret + "@10.0.0.1/: refused"})
	node.EventList = append(node.EventList, server.Event{Subject: "config", State: "failed", Reason: "?token=" + secret})
	node.CrashLines["4b2c9e30-aaaa"] = append(node.CrashLines["4b2c9e30-aaaa"], server.CrashLine{Message: "init: app --password " + secret})
	node.Configs.Add("kind: Machine\nhostname: node1 # password: " + secret + "\nca:\n  key: " + secret + "\n")
	node.MountList = append(node.MountList, &kernelv1.Mount{Target: "/mnt", Type: "cifs", Options: "rw,username=x,password=" + secret})

	data, out := runSupport(t, node)
	if bytes.Contains(data, []byte("cyvive-support")) || bytes.Contains(data, []byte(secret)) {
		t.Error("the archive is not encrypted")
	}
	id := out.id
	opened, err := open(data, id)
	if err != nil {
		t.Fatal(err)
	}
	marks := 0
	for name, text := range opened {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s holds the secret:\n%s", name, text)
		}
		marks += bytes.Count(text, []byte(redact.Mark))
	}
	if marks < 14 {
		t.Errorf("%d secrets were taken out, and at least 14 were planted", marks)
	}
	var m support.Manifest
	if err := json.Unmarshal(opened["manifest.json"], &m); err != nil || len(m.Nodes) != 1 {
		t.Fatalf("manifest: %v, %s", err, opened["manifest.json"])
	}
	folder := m.Nodes[0].Folder
	if got := string(opened[folder+"/config.yaml"]); !strings.HasPrefix(got, "kind: Machine\nhostname: node1 #") {
		t.Errorf("the configuration is %q", got)
	}
	if got := string(opened[folder+"/logs/etcd.log"]); !strings.HasSuffix(got, "end of the log\n") {
		t.Errorf("the log is %q", got)
	}
	counted := 0
	for _, i := range m.Nodes[0].Items {
		counted += i.Redactions
		if i.Name == "file /proc/version" && (i.File != "" || !strings.Contains(i.Failed, "holds a private key")) {
			t.Errorf("a file with a key: %+v", i)
		}
	}
	if counted < 13 {
		t.Errorf("the manifest has %d redactions", counted)
	}
	for _, c := range node.Calls() {
		if strings.Contains(c, "environ") || strings.Contains(c, "/state") || c == "kubeconfig" {
			t.Errorf("it asked for %s", c)
		}
	}
	if out.code != exitSome {
		t.Errorf("exit status %d, want %d: one file was refused", out.code, exitSome)
	}
	// Nothing else is left in the folder, and never was under another name.
	entries, err := os.ReadDir(out.dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

// TestSupportIsBounded: a node that writes for ever fills neither memory nor disk, and one
// whose names are paths leads nowhere.
func TestSupportIsBounded(t *testing.T) {
	node := exampleNode()
	line := strings.Repeat("x", 1<<10)
	node.Lines = map[string][]string{"../../etc/passwd": slices.Repeat([]string{line}, 9<<10), "plane/kubelet": {strings.Repeat("y", 3<<20)}}
	node.ServiceList = []server.Service{{Name: "../../etc/passwd"}, {Name: "plane/kubelet"}}
	data, out := runSupport(t, node, "--log-lines", "100000")
	opened, err := open(data, out.id)
	if err != nil {
		t.Fatal(err)
	}
	var m support.Manifest
	if err := json.Unmarshal(opened["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	folder := m.Nodes[0].Folder
	long := opened[folder+"/logs/etc-passwd.log"]
	i := slices.IndexFunc(m.Nodes[0].Items, func(i support.Item) bool { return i.File == "logs/etc-passwd.log" })
	if len(long) == 0 || len(long) > maxItemBytes || i < 0 || m.Nodes[0].Items[i].Dropped == 0 {
		t.Errorf("a log of 9 MiB became %d bytes; items %+v", len(long), m.Nodes[0].Items)
	}
	if got := len(opened[folder+"/logs/plane-kubelet.log"]); got != 3<<20+1 {
		t.Errorf("a line of 3 MiB became %d bytes", got)
	}
}

// TestSupportOfANodeInTrouble: a node that says of parts that they are not there yet is asked for all the others.
func TestSupportOfANodeInTrouble(t *testing.T) {
	node := exampleNode()
	node.Configs.Err = fmt.Errorf("read the configuration: %w: waiting for the state volume", server.ErrUnavailable)
	data, out := runSupport(t, node)
	opened, err := open(data, out.id)
	if err != nil {
		t.Fatal(err)
	}
	var m support.Manifest
	if err := json.Unmarshal(opened["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, i := range m.Nodes[0].Failures() {
		failed = append(failed, i.Name)
		if !strings.Contains(i.Failed, "waiting for the state volume") {
			t.Errorf("%s: %s", i.Name, i.Failed)
		}
	}
	if diff := cmp.Diff([]string{"config", "config history"}, failed); diff != "" || out.code != exitSome {
		t.Errorf("exit status %d, missing (-want +got):\n%s", out.code, diff)
	}
}

// supported is what one run of nodectl support left.
type supported struct {
	id   age.Identity
	dir  string
	code int
}

// runSupport runs it on one node as an operator, and returns the archive.
func runSupport(t *testing.T, n *servertest.Node, flags ...string) ([]byte, supported) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s := supported{id: id, dir: t.TempDir()}
	a := operatorOf(t, n)
	path := filepath.Join(s.dir, "archive")
	s.code = a.run(t.Context(), append([]string{"support", "--recipient", id.Recipient().String(), "-f", path}, flags...))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: %s", err, a.stderr)
	}
	return data, s
}
