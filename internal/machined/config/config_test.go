package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected errors in testdata")

// authority makes a CA certificate and its key.
func authority(t testing.TB, name string) KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return KeyPair{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:         NewSecret(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))),
	}
}

func full(t testing.TB) *Config {
	t.Helper()
	key := make([]byte, 32)
	return &Config{
		Machine: Machine{Hostname: "node1", CA: authority(t, "api"), CertSANs: []string{"127.0.0.1", "node1.example"}, Profile: ProfileStrict,
			Disk: Disk{Encryption{
				Mode: EncryptionTPM, KMS: &KeyServer{"https://kms.example:4050", authority(t, "kms").Certificate, keyServerClient(t)},
			}}, Upgrade: Upgrade{
				Deadline: 150 * time.Second,
				Gates: []Gate{
					{"web", GateService, "default/web:80/healthz"}, {"local", GateHTTP, "http://127.0.0.1:8080/healthz?full=1"},
					{"db", GateTCP, "10.5.0.9:5432"}, {"ingress", GateDeployment, "ingress/controller"}, {"gpu", GateCondition, "example.com/GPUReady"},
				},
				Sources: []UpgradeSource{
					{"registry.example:5000", authority(t, "registry").Certificate, &Credentials{"node", NewSecret("hunter2")}},
					{"mirror.example", authority(t, "mirror").Certificate, nil},
				},
			}, Time: Time{Servers: []string{"10.5.0.1", "time.example"}},
			Extensions: []Extension{{"nlmon", "1.0.0"}, {"agent", "2.1.0-rc.1+build.5"}}},
		Network: Network{
			Links: []Link{{
				Name: "eth0", Addresses: []netip.Prefix{netip.MustParsePrefix("10.5.0.2/24")}, Gateway: netip.MustParseAddr("10.5.0.1"),
			}},
			Nameservers: []netip.Addr{netip.MustParseAddr("10.5.0.1")},
		},
		Cluster: &Cluster{
			Name: "demo", Endpoint: "https://127.0.0.1:6443", Role: RoleControlPlane,
			PodCIDR: netip.MustParsePrefix("10.244.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"), DNSDomain: "cluster.local",
			Volumes: VolumesZFS,
			CA:      authority(t, "kubernetes"), FrontProxyCA: authority(t, "front"), EtcdCA: authority(t, "etcd"),
			ServiceAccountKey: authority(t, "sa").Key, EncryptionKey: NewSecret(base64.StdEncoding.EncodeToString(key)),
		},
		Registries: Registries{
			CA: authority(t, "company").Certificate + authority(t, "before").Certificate,
			Registries: []Registry{
				{
					"mirror.example:5000", []string{"https://other.example"}, authority(t, "mirror").Certificate, &Credentials{"node", NewSecret("hunter2")},
				},
				{Name: "docker.io", Mirrors: []string{"https://mirror.example:5000", "https://harbor.example/v2/hub"}},
				{Name: AnyRegistry, Mirrors: []string{"https://[fd00::5]:5000/all/"}},
			},
		},
		Pools: pools(), Datasets: datasets(), SnapshotSchedules: schedules(), ReplicationJobs: jobs(t),
	}
}

// keyServerClient is a certificate, and not one of an authority only because the tests have no other at hand.
func keyServerClient(t testing.TB) *KeyPair {
	pair := authority(t, "node")
	return &pair
}

func compare() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	}
}

func TestRoundTrip(t *testing.T) {
	want := full(t)
	data, err := Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("user-data", data)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, compare()); d != "" {
		t.Errorf("after a round trip (-want +got):\n%s", d)
	}
}

func TestDefaults(t *testing.T) {
	cfg := full(t)
	cfg.Network, cfg.Cluster.PodCIDR, cfg.Cluster.ServiceCIDR, cfg.Cluster.DNSDomain = Network{}, netip.Prefix{}, netip.Prefix{}, ""
	data, err := Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("user-data", data)
	if err != nil {
		t.Fatal(err)
	}
	want := full(t).Cluster
	if got.Cluster.PodCIDR != want.PodCIDR || got.Cluster.ServiceCIDR != want.ServiceCIDR || got.Cluster.DNSDomain != want.DNSDomain {
		t.Errorf("defaults of Cluster: %v %v %q", got.Cluster.PodCIDR, got.Cluster.ServiceCIDR, got.Cluster.DNSDomain)
	}
	if d := cmp.Diff(DefaultNetwork(), got.Network, compare()); d != "" {
		t.Errorf("defaults of Network (-want +got):\n%s", d)
	}
}

// TestEveryTruncationIsRefused cuts a configuration after each byte, and one with all kinds of documents after some.
func TestEveryTruncationIsRefused(t *testing.T) {
	all := full(t)
	node := *all
	node.Pools, node.Datasets, node.SnapshotSchedules, node.ReplicationJobs = nil, nil, nil, nil
	coarser := 1
	if testing.Short() {
		coarser = 11
	}
	for step, cfg := range map[int]*Config{1: &node, 89: all} {
		data, err := Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		whole := len(strings.TrimRight(string(data), "\n"))
		for n := 0; n < whole; n += step * coarser {
			if _, err := Parse("user-data", data[:n]); err == nil {
				t.Errorf("accepted the first %d of %d bytes, up to %q", n, len(data), data[max(0, n-30):n])
			}
		}
	}
}

// TestGolden parses each file of testdata. PAIR stands for a good authority, AUTHORITY for its certificate alone.
// No error may show the text hunter2.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	pair := authority(t, "api")
	flow := fmt.Sprintf("{certificate: %q, key: %q}", pair.Certificate, pair.Key.Reveal())
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := strings.ReplaceAll(string(data), "PAIR", flow)
			text = strings.ReplaceAll(text, "AUTHORITY", fmt.Sprintf("%q", pair.Certificate))
			_, err = Parse("user-data", []byte(text))
			got := "ok\n"
			var all Errors
			switch {
			case errors.As(err, &all):
				got = err.Error() + "\n"
			case err != nil:
				t.Fatalf("error of type %T: %v", err, err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("errors (-want +got):\n%s", d)
			}
			if strings.Contains(got, "hunter2") || strings.Contains(got, "PRIVATE") {
				t.Errorf("a secret shows in %q", got)
			}
		})
	}
}

func TestSecretNeverShows(t *testing.T) {
	s := NewSecret("hunter2")
	encoded, err := json.Marshal(map[string]any{"key": s, "pair": KeyPair{Key: s}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("secret", "key", s, "config", Config{Machine: Machine{CA: KeyPair{Key: s}}})
	for _, shown := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %q %x %d", s, s, s, s, s, s), fmt.Sprintf("%+v", KeyPair{Key: s}), string(encoded), log.String(),
		fmt.Sprintf("%#v", &Cluster{EncryptionKey: s}),
	} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "68756e74657232") {
			t.Errorf("shows in %q", shown)
		}
	}
	if s.Reveal() != "hunter2" || s.IsZero() {
		t.Error("the secret is lost")
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	if data, err := Marshal(full(f)); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := Parse("user-data", data)
		if (cfg == nil) == (err == nil) {
			t.Fatalf("got %v and %v", cfg, err)
		}
		if err != nil {
			var all Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Errorf("error of type %T", err)
			}
			return
		}
		if _, err := Marshal(cfg); err != nil {
			t.Errorf("cannot write what was read: %v", err)
		}
	})
}
