package machined

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// console is what a node shows.
type console struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String()
}

// bare is a node without a configuration, and its owner.
type bare struct {
	*node
	console *console
	owner   crypto.Signer
	print   pki.Fingerprint
}

func newOwner(t *testing.T) (crypto.Signer, pki.Fingerprint) {
	t.Helper()
	text, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseNodeKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return key.signer, key.print
}

// startBare starts a node without a configuration, and waits until it says that there is none. Its clock is wrong by so much.
func startBare(t *testing.T, state string, disk *storagetest.Machine, wrong time.Duration, claims ...maintenance.Claim) *bare {
	t.Helper()
	return startBareWith(t, state, disk, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(wrong) } }, claims...)
}

func startBareWith(t *testing.T, state string, disk *storagetest.Machine, change func(*Config), claims ...maintenance.Claim) *bare {
	t.Helper()
	b := &bare{console: &console{}}
	b.owner, b.print = newOwner(t)
	for i := range claims {
		if claims[i].Key.IsZero() && claims[i].Problem == "" {
			claims[i].Key = b.print
		}
	}
	b.node = startNodeWith(t, state, disk, func(c *Config) {
		c.Console = b.console
		c.Pace.SearchFor = time.Second // nothing comes
		c.Source.(*source).own(claims...)
		change(c)
	})
	// A state volume that does not come is waited for, too.
	for deadline := time.Now().Add(time.Minute); !b.snapshot().mode.Maintenance(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no maintenance mode: %+v", b.snapshot().checks)
		}
	}
	return b
}

// awaitConsole waits until the console shows a text.
func (b *bare) awaitConsole(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(b.console.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the console does not show %q but\n%s", text, b.console.String())
		}
	}
}

// shown is the fingerprint that the console shows last.
func (b *bare) shown(t *testing.T) string {
	t.Helper()
	b.awaitConsole(t, "fingerprint  SHA256:")
	text := b.console.String()
	text = text[strings.LastIndex(text, "fingerprint  ")+len("fingerprint  "):]
	return text[:strings.IndexByte(text, '\n')]
}

// dial connects with a certificate, or none, and only to the node with the fingerprint that is shown.
func (b *bare) dial(t *testing.T, certificate *tls.Certificate) *grpc.ClientConn {
	t.Helper()
	want := b.shown(t)
	config := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		if got := pki.CertificateFingerprint(s.PeerCertificates[0]).String(); got != want {
			return errors.New("another node: " + got)
		}
		return nil
	}}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	conn, err := grpc.NewClient("passthrough:///"+b.listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func (b *bare) certificate(t *testing.T, key crypto.Signer) *tls.Certificate {
	t.Helper()
	return b.certificateFrom(t, key, time.Now())
}

func (b *bare) certificateFrom(t *testing.T, key crypto.Signer, from time.Time) *tls.Certificate {
	t.Helper()
	c, err := pki.OwnerCertificate(key, pki.OwnerRequest{
		CommonName: "owner", Organizations: []string{"node:admin"}, NotBefore: from, NotAfter: from.Add(2 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// TestFirstContact: strangers get nothing, the owner gets in though the node's clock is behind, and the configuration that the owner gives is in force without a
// reboot.
func TestFirstContact(t *testing.T) {
	t.Parallel()
	b := startBare(t, t.TempDir(), storagetest.New(1<<30), -40*time.Minute, maintenance.Claim{From: "the image"})
	print := b.shown(t)
	b.awaitConsole(t, "reason       no configuration found: there is none in the hands of the test")
	b.awaitConsole(t, "owner        "+b.print.String()+"\n               (the image)")
	b.awaitConsole(t, "--maintenance --nodes 10.5.0.7 ")
	other, _ := newOwner(t)
	for name, certificate := range map[string]*tls.Certificate{"a stranger": nil, "another owner": b.certificate(t, other)} {
		conn := b.dial(t, certificate)
		_, err := machinev1.NewMachineServiceClient(conn).GetVersion(t.Context(), &machinev1.GetVersionRequest{})
		_, err2 := configv1.NewConfigServiceClient(conn).Apply(t.Context(), &configv1.ApplyRequest{Document: string(documents(t))})
		if status.Code(err) != codes.Unauthenticated || status.Code(err2) != codes.Unauthenticated {
			t.Errorf("%s: %v, %v", name, err, err2)
		}
	}
	conn := b.dial(t, b.certificate(t, b.owner))
	machine, configs := machinev1.NewMachineServiceClient(conn), configv1.NewConfigServiceClient(conn)
	identity, err := machine.GetIdentity(t.Context(), &machinev1.GetIdentityRequest{})
	if err != nil || identity.GetFingerprint() != print || identity.GetOwner() != b.print.String() || identity.GetOwnerSource() != "the image" {
		t.Errorf("identity: %v, %v", identity, err)
	}
	stream, err := machine.WatchHealth(t.Context(), &machinev1.WatchHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if first, err := stream.Recv(); err != nil || !strings.Contains(first.GetHealth().GetChecks()[0].GetReason(), "no configuration found") {
		t.Errorf("health: %v, %v", first, err)
	}
	if mistakes, err := configs.Validate(t.Context(), &configv1.ValidateRequest{Document: "kind: Machine\n", Name: "x"}); err != nil || len(mistakes.GetMistakes()) == 0 {
		t.Errorf("validate: %v, %v", mistakes, err)
	}
	if _, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(documents(t)), Mode: configv1.Mode_MODE_TRY}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("try with nothing to go back to: %v", err)
	}
	docs := standalone(t)
	applied, err := configs.Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs), Name: "node1.yaml"})
	if err != nil || applied.GetRevision() != 1 || len(applied.GetNotes()) != 1 || !strings.Contains(applied.GetNotes()[0], "leaves maintenance mode") || len(applied.GetPending()) > 0 {
		t.Errorf("apply: %v, %v", applied, err)
	}
	for err == nil { // health changes before the stream ends
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the node has its configuration now") {
		t.Errorf("the owner's stream: %v", err)
	}
	b.checkConfigured(t, docs, print)
}

// checkConfigured looks at a node that has left maintenance mode.
func (b *bare) checkConfigured(t *testing.T, docs []byte, print string) {
	t.Helper()
	b.await("the configuration", func(s snapshot) bool { return healthy(s, "config") && s.mode == maintenance.Configured })
	b.awaitConsole(t, "MAINTENANCE MODE HAS ENDED")
	if b.shown(t) != print {
		t.Error("the node has become another one by its configuration")
	}
	o := &owned{node: b.node, authority: authorityOf(t, docs)}
	history, err := o.as(t, "alice", "node:admin").History(t.Context(), &configv1.HistoryRequest{})
	if err != nil || len(history.GetRevisions()) != 1 || history.GetRevisions()[0].GetBy() != "owner" {
		t.Errorf("history: %v, %v", history, err)
	}
	// Still the same key, and the owner has no say.
	_, err = machinev1.NewMachineServiceClient(b.dial(t, b.certificateFrom(t, b.owner, time.Now().Add(-time.Hour)))).GetHealth(t.Context(), &machinev1.GetHealthRequest{})
	if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "which is not this node's authority") {
		t.Errorf("the owner afterwards: %v", err)
	}
}

// TestAppliedBeatsFound: what the owner has applied stays, also when a source comes up with another configuration at the same time.
func TestAppliedBeatsFound(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	b := startBare(t, state, disk, 0, maintenance.Claim{From: "the image"})
	docs := standalone(t)
	if _, err := configv1.NewConfigServiceClient(b.dial(t, b.certificate(t, b.owner))).Apply(t.Context(), &configv1.ApplyRequest{Document: string(docs)}); err != nil {
		t.Fatal(err)
	}
	b.source.set([]byte(strings.Replace(string(docs), "hostname: node1", "hostname: another", 1)))
	b.await("the configuration", func(s snapshot) bool { return s.input.Config != nil })
	time.Sleep(b.cfg.Pace.SlowSearch + 500*time.Millisecond) // the search has had its next look
	if name := b.snapshot().input.Config.Machine.Hostname; name != "node1" || b.snapshot().configProblem != "" {
		t.Errorf("host name %q, problem %q", name, b.snapshot().configProblem)
	}
	b.end()
	again := startNode(t, state, disk)
	again.await("the configuration after a restart", func(s snapshot) bool { return s.input.Config != nil && s.input.Config.Machine.Hostname == "node1" })
}

// TestFingerprintStays: the node is the same over restarts and boots, and another one only when its key is lost.
func TestFingerprintStays(t *testing.T) {
	t.Parallel()
	state, disk := t.TempDir(), storagetest.New(1<<30)
	first := startBare(t, state, disk, 0)
	print := first.shown(t)
	first.awaitConsole(t, "owner        none")
	v, err := machinev1.NewMachineServiceClient(first.dial(t, nil)).GetVersion(t.Context(), &machinev1.GetVersionRequest{})
	if err != nil || !v.GetMaintenance() {
		t.Errorf("anybody, on a node without an owner: %v, %v", v, err)
	}
	_, err = configv1.NewConfigServiceClient(first.dial(t, nil)).Apply(t.Context(), &configv1.ApplyRequest{Document: string(standalone(t))})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a configuration from anybody: %v", err)
	}
	first.end()
	disk.Boot(true)
	again := startBare(t, state, disk, 0)
	if got := again.shown(t); got != print {
		t.Errorf("after a boot: %s, before %s", got, print)
	}
	if info, err := os.Stat(filepath.Join(state, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the node's key: %v, %v", info, err)
	}
	again.end()
	if err := os.WriteFile(filepath.Join(state, keyFile), []byte("-----BEGIN PRIVATE KEY-----\nMII"), 0o600); err != nil {
		t.Fatal(err)
	}
	spoilt := startBare(t, state, disk, 0)
	if got := spoilt.shown(t); got == print {
		t.Error("the fingerprint of a key that is lost")
	}
}

// TestKeyInMemory: without a state volume the node has a key in memory, and says so; nobody can configure it, with the reason.
func TestKeyInMemory(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	disk.FailPower(0)
	b := startBare(t, t.TempDir(), disk, 0, maintenance.Claim{From: "the kernel command line"})
	b.awaitConsole(t, "a restart changes it")
	_, err := configv1.NewConfigServiceClient(b.dial(t, b.certificate(t, b.owner))).Apply(t.Context(), &configv1.ApplyRequest{Document: string(standalone(t))})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "the node has not read its state volume yet") {
		t.Errorf("apply: %v", err)
	}
	if _, err := os.Stat(filepath.Join(b.state, keyFile)); err == nil {
		t.Error("a key was stored where the state volume should be")
	}
}

// TestWhoseNode: a node answers nobody until it can tell whose it is, follows the first, and tells of others.
func TestWhoseNode(t *testing.T) {
	t.Parallel()
	b := startBare(t, t.TempDir(), storagetest.New(1<<30), 0, maintenance.Claim{From: "the kernel command line", Problem: "no key"})
	b.awaitConsole(t, "owner        not known: the kernel command line: no key")
	for name, certificate := range map[string]*tls.Certificate{"a stranger": nil, "somebody": b.certificate(t, b.owner)} {
		_, err := machinev1.NewMachineServiceClient(b.dial(t, certificate)).GetVersion(t.Context(), &machinev1.GetVersionRequest{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "its console says why") || strings.Contains(err.Error(), "no key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, late := newOwner(t)
	b.source.own(maintenance.Claim{From: "a volume", Key: b.print})
	b.await("an owner", func(s snapshot) bool { return s.mode == maintenance.Owned && s.owner.Key == b.print })
	b.source.own(maintenance.Claim{From: "the firmware", Key: late}, maintenance.Claim{From: "a volume", Key: b.print})
	b.awaitConsole(t, "not followed the firmware: "+late.String())
	if s := b.snapshot(); s.owner.Key != b.print {
		t.Errorf("the owner is %s", s.owner.Key)
	}
	if _, err := machinev1.NewMachineServiceClient(b.dial(t, b.certificate(t, b.owner))).GetVersion(t.Context(), &machinev1.GetVersionRequest{}); err != nil {
		t.Error(err)
	}
}

// TestStarting: before it is known whether there is a configuration, nobody is told anything.
func TestStarting(t *testing.T) {
	t.Parallel()
	n := startNodeWith(t, t.TempDir(), storagetest.New(0), func(c *Config) {
		c.Source.(*source).own(maintenance.Claim{From: "the image", Key: pki.Fingerprint{1}})
		c.Source.(*source).fail(&Waiting{For: "a server"})
	})
	n.await("the API", func(s snapshot) bool { return s.listening })
	conn, err := grpc.NewClient("passthrough:///"+n.listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = machinev1.NewMachineServiceClient(conn).GetVersion(t.Context(), &machinev1.GetVersionRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "still looking for its configuration") {
		t.Errorf("got %v", err)
	}
	if u := n.identity.Load().Unconfigured; u.Audience != server.AudienceNobody {
		t.Errorf("audience %v", u.Audience)
	}
}

// TestOldKeyIsRemoved: releases before had a key for each certificate.
func TestOldKeyIsRemoved(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	for _, name := range []string{"api.key", "api.crt"} {
		if err := os.WriteFile(filepath.Join(state, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n := startNode(t, state, storagetest.New(0))
	n.source.set(standalone(t))
	if err := n.presentedSoon("node1"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := os.Stat(filepath.Join(state, "api.key"))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the old key is there still (%v)", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var _ io.Writer = (*console)(nil)
