package machined

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/configstore"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
	"github.com/cyvive/cyvive/internal/machined/plan"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/network"
	"github.com/cyvive/cyvive/internal/networktest"
	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/storage"
	"github.com/cyvive/cyvive/internal/storagetest"
)

// owned is a node whose authority the test has.
type owned struct {
	*node
	authority *pki.Authority
	disk      *storagetest.Machine
	docs      []byte
}

func authorityOf(t *testing.T, docs []byte) *pki.Authority {
	t.Helper()
	cfg, err := config.Parse("docs", docs)
	if err != nil {
		t.Fatal(err)
	}
	a, err := pki.ParseAuthority([]byte(cfg.Machine.CA.Certificate), []byte(cfg.Machine.CA.Key.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// startOwned starts a node with documents that its source has.
func startOwned(t *testing.T, docs []byte) *owned {
	t.Helper()
	o := &owned{authority: authorityOf(t, docs), disk: storagetest.New(1 << 30), docs: docs}
	o.start(t, t.TempDir(), t.Name())
	return o
}

// start starts an agent of a boot on the node's disk.
func (o *owned) start(t *testing.T, state, boot string) {
	t.Helper()
	o.node = startNodeWith(t, state, o.disk, func(c *Config) { c.Boot.ID = boot })
	o.source.set(o.docs)
	o.await("configuration", func(s snapshot) bool { return s.input.Config != nil && s.listening && s.identity })
	// Who connects before ends up on a connection that is closed.
	o.awaitOther("the API's certificate", func() bool { return o.identity.Load().Clients != nil })
}

// restart starts another agent in the same boot, or in another.
func (o *owned) restart(t *testing.T, boot string) {
	t.Helper()
	o.end()
	o.start(t, o.state, boot)
}

// dial connects as a client with a role. The node's name is not looked at: it may change.
func (o *owned) dial(t *testing.T, name, role string) *grpc.ClientConn {
	t.Helper()
	pair, err := o.authority.Issue(pki.Request{CommonName: name, Organizations: []string{role}, Client: true, Lifetime: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:///"+o.listener.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// as is dial for the configuration, and waits until the client is let in.
func (o *owned) as(t *testing.T, name, role string) configv1.ConfigServiceClient {
	t.Helper()
	client := configv1.NewConfigServiceClient(o.dial(t, name, role))
	o.eventually(t, "the node lets "+name+" in", func() error {
		_, err := client.Get(t.Context(), &configv1.GetRequest{})
		return err
	})
	return client
}

func (o *owned) eventually(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func applyPatch(t *testing.T, c configv1.ConfigServiceClient, mode configv1.Mode, patch string) *configv1.ApplyResponse {
	t.Helper()
	resp, err := c.Apply(t.Context(), &configv1.ApplyRequest{Patch: patch, Mode: mode})
	if err != nil {
		t.Fatalf("apply %q: %v", patch, err)
	}
	return resp
}

func operations(domains []*configv1.Domain) string {
	var out []string
	for _, d := range domains {
		out = append(out, d.GetName()+": "+strings.Join(d.GetOperations(), ", ")+d.GetWaits())
	}
	return strings.Join(out, "\n")
}

// TestConfigIsChanged walks the whole of it: the documents are read without secrets, tried out, given back changed, looked at and rolled back.
func TestConfigIsChanged(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	first, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r := first.GetRevision(); r.GetNumber() != 1 || r.GetMode() != configv1.Mode_MODE_SOURCE || r.GetBy() != "user-data" || !r.GetCurrent() {
		t.Errorf("what the source has: %v", r)
	}
	if text := first.GetDocument(); strings.Contains(text, "PRIVATE") || !strings.Contains(text, config.Redacted) {
		t.Errorf("the document shows secrets:\n%s", text)
	}
	changed := strings.Replace(first.GetDocument(), "hostname: node1", "hostname: node2\ncertSANs: [node.example]", 1)
	changed += "---\napiVersion: cyvive.dev/v1alpha1\nkind: Network\nlinks: [{name: eth0, addresses: [10.5.0.9/24]}]\nnameservers: [10.5.0.53]\n"
	request := &configv1.ApplyRequest{Document: changed, Name: "mine.yaml", DryRun: true, ExpectedRevision: 1}
	dry, err := admin.Apply(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	const want = "agent: issue the API's certificate\nnetwork: set host name node2, add address to eth0 10.5.0.9/24, delete address from eth0 10.5.0.7/24, " +
		"stop DHCP on eth0, set name servers [10.5.0.53]"
	if got := operations(dry.GetDomains()); got != want || dry.GetRevision() != 1 || o.snapshot().input.Config.Machine.Hostname != "node1" {
		t.Errorf("dry run: revision %d, operations\n%s\nwant\n%s", dry.GetRevision(), got, want)
	}
	request.DryRun = false
	applied, err := admin.Apply(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if applied.GetRevision() != 2 || operations(applied.GetDomains()) != want || len(applied.GetPending()) > 0 {
		t.Errorf("applied: %v", applied)
	}
	o.await("the change", func(s snapshot) bool {
		return s.input.Config.Machine.Hostname == "node2" && slices.Contains(s.network.Status.Addresses, prefix("10.5.0.9/24")) && len(s.network.Status.Addresses) == 1
	})
	if err := o.presentedSoon("node.example"); err != nil {
		t.Errorf("certificate: %v", err)
	}
	if _, err := admin.Apply(t.Context(), request); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the current revision is 2 and not 1") {
		t.Errorf("applied to a revision that is gone: %v", err)
	}
	again, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: "kind: Machine\nhostname: node2\n"})
	if err != nil || again.GetRevision() != 2 || len(again.GetChanges()) > 0 {
		t.Errorf("a patch that changes nothing: %v, %v", again, err)
	}
	o.checkReading(t, o.as(t, "bob", "node:reader"))
	back, err := admin.Rollback(t.Context(), &configv1.RollbackRequest{})
	if err != nil || back.GetRevision() != 3 {
		t.Errorf("roll back: %v, %v", back, err)
	}
	o.await("the way back", func(s snapshot) bool { return s.input.Config.Machine.Hostname == "node1" })
	if _, err := admin.Rollback(t.Context(), &configv1.RollbackRequest{Revision: 99}); status.Code(err) != codes.NotFound {
		t.Errorf("roll back to nothing: %v", err)
	}
	o.restart(t, "another boot")
	if n := o.snapshot().input.Config.Machine.Hostname; n != "node1" {
		t.Errorf("host name %q after a boot", n)
	}
}

// checkReading is what a reader may see, and may not.
func (o *owned) checkReading(t *testing.T, reader configv1.ConfigServiceClient) {
	t.Helper()
	history, err := reader.History(t.Context(), &configv1.HistoryRequest{})
	if err != nil || len(history.GetRevisions()) != 2 {
		t.Fatalf("history: %v, %v", history, err)
	}
	if r := history.GetRevisions()[0]; r.GetNumber() != 2 || r.GetBy() != "alice" || r.GetMode() != configv1.Mode_MODE_AUTO || !r.GetCurrent() {
		t.Errorf("newest: %v", r)
	}
	diff, err := reader.Diff(t.Context(), &configv1.DiffRequest{})
	if err != nil || diff.GetFrom() != 1 || diff.GetTo() != 2 || !strings.Contains(diff.GetText(), "\n-hostname: node1\n+hostname: node2\n") || len(diff.GetSecrets()) > 0 {
		t.Errorf("difference: %v, %v", diff, err)
	}
	for name, err := range map[string]error{
		"apply":    errOf(reader.Apply(t.Context(), &configv1.ApplyRequest{Patch: "kind: Machine\n"})),
		"confirm":  errOf(reader.Confirm(t.Context(), &configv1.ConfirmRequest{})),
		"rollback": errOf(reader.Rollback(t.Context(), &configv1.RollbackRequest{})),
	} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s by a reader: %v", name, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(o.state, "config", "*"))
	if err != nil || len(files) < 3 {
		t.Errorf("files of the store: %v, %v", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info.Mode(), err)
		}
	}
}

func errOf[T any](_ T, err error) error { return err }

// TestMistakesAreNamed: nothing is stored of documents that are wrong, and each mistake has its place in what was given, also where secrets were
// filled in.
func TestMistakesAreNamed(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	now, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil {
		t.Fatal(err)
	}
	wrong := "# a comment\n\n\n" + strings.Replace(now.GetDocument(), "hostname: node1", "hostname: Node_1\nprofil: strict", 1)
	valid, err := admin.Validate(t.Context(), &configv1.ValidateRequest{Document: wrong, Name: "mine.yaml"})
	if err != nil || len(valid.GetMistakes()) != 2 {
		t.Fatalf("validate: %v, %v", valid, err)
	}
	m := valid.GetMistakes()[0]
	if m.GetFile() != "mine.yaml" || m.GetLine() != 6 || m.GetField() != "Machine.hostname" || !strings.Contains(m.GetProblem(), "expected a host name") {
		t.Errorf("mistake: %v", m)
	}
	_, err = admin.Apply(t.Context(), &configv1.ApplyRequest{Document: wrong, Name: "mine.yaml"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "mine.yaml:7: Machine.profil: unknown field, expected one of apiVersion, kind, hostname") {
		t.Errorf("apply: %v", err)
	}
	for name, r := range map[string]*configv1.ApplyRequest{
		"patch: bad YAML":  {Patch: "kind: [\n"},
		"no value":         {Patch: "kind: Machine\nhostname: null\n"},
		"nothing":          {},
		"mode source":      {Patch: "kind: Machine\n", Mode: configv1.Mode_MODE_SOURCE},
		"timeout of none":  {Patch: "kind: Machine\n", TryTimeout: durationpb.New(time.Minute)},
		"too short a time": {Patch: "kind: Machine\n", Mode: configv1.Mode_MODE_TRY, TryTimeout: durationpb.New(time.Second)},
		"a secret of none": {Patch: "kind: Machine\nca: {key: x}\n"},
	} {
		_, err := admin.Apply(t.Context(), r)
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	many, err := admin.Validate(t.Context(), &configv1.ValidateRequest{Patch: "kind: Machine\ncertSANs:" + strings.Repeat("\n- _", 1000)})
	if list := many.GetMistakes(); err != nil || len(list) != maxTold+1 || list[maxTold].GetProblem() != "and 800 more" {
		t.Errorf("validate a thousand mistakes: %d, %v", len(list), err)
	}
	good, err := admin.Validate(t.Context(), &configv1.ValidateRequest{Patch: "kind: Machine\nupgrade: {deadline: 5m30s}\n"})
	if err != nil || len(good.GetMistakes()) > 0 || operations(good.GetDomains()) != "agent: judge releases by a deadline of 5m30s" {
		t.Errorf("validate a good patch: %v, %v", good, err)
	}
	history, err := admin.History(t.Context(), &configv1.HistoryRequest{})
	if err != nil || len(history.GetRevisions()) != 1 {
		t.Errorf("history: %v, %v", history, err)
	}
}

// TestSecretsAreNotGuessed: who may not change the configuration is not told whether a secret that he gives is the node's.
func TestSecretsAreNotGuessed(t *testing.T) {
	t.Parallel()
	docs := standalone(t)
	cfg, err := config.Parse("docs", docs)
	if err != nil {
		t.Fatal(err)
	}
	source := func(password string) string {
		return fmt.Sprintf("kind: Machine\nupgrade: {deadline: 5m, sources: [{host: registry.example, ca: %q, credentials: {username: node, password: %q}}]}\n",
			cfg.Machine.CA.Certificate, password)
	}
	if docs, err = config.Merge(docs, []byte(source("right"))); err != nil {
		t.Fatal(err)
	}
	o := startOwned(t, docs)
	for _, test := range []struct {
		role, document, patch string
		want                  []string
	}{
		{"node:admin", "", source("right"), nil},
		{"node:admin", "", source("wrong"), []string{"Machine.upgrade.sources"}},
		{"node:reader", "", source("right"), []string{"Machine.upgrade.sources"}},
		{"node:reader", "", source("wrong"), []string{"Machine.upgrade.sources"}},
		{"node:operator", "", source("right"), []string{"Machine.upgrade.sources"}},
		{"node:reader", "", source(config.Redacted), nil},
		{"node:reader", "", "kind: Machine\nhostname: node2\n", []string{"Machine.hostname"}},
		{"node:reader", string(docs), "kind: Machine\nhostname: node2\n", []string{"Machine.hostname", "Machine.ca", "Machine.upgrade.sources"}},
		{"node:admin", string(docs), "", nil},
	} {
		resp, err := o.as(t, "bob", test.role).Validate(t.Context(), &configv1.ValidateRequest{Document: test.document, Patch: test.patch})
		var got []string
		for _, c := range resp.GetChanges() {
			got = append(got, c.GetField())
		}
		if err != nil || len(resp.GetMistakes()) > 0 || !slices.Equal(got, test.want) {
			t.Errorf("%s, document of %d bytes, patch %q: changes %q, want %q; %v, %v", test.role, len(test.document), test.patch, got, test.want, resp.GetMistakes(), err)
		}
	}
}

// TestGuessesAreNotConfirmed: nor does it show in what the node would do, which is nothing where a secret is one that cannot be changed.
func TestGuessesAreNotConfirmed(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	cfg, err := config.Parse("docs", docs)
	if err != nil {
		t.Fatal(err)
	}
	guess := func(key string) *configv1.ValidateRequest {
		return &configv1.ValidateRequest{Patch: "kind: Machine\ncertSANs: [guess.example]\n---\nkind: Cluster\nencryptionKey: " + key + "\n"}
	}
	right, wrong := cfg.Cluster.EncryptionKey.Reveal(), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	o := startOwned(t, docs)
	for _, test := range []struct {
		role, key string
		tells     bool
		changes   int
	}{
		{"node:admin", right, true, 1}, {"node:admin", wrong, false, 2},
		{"node:reader", right, false, 2}, {"node:reader", wrong, false, 2}, {"node:operator", right, false, 2},
		{"node:reader", `"` + config.Redacted + `"`, true, 1},
	} {
		resp, err := o.as(t, "bob", test.role).Validate(t.Context(), guess(test.key))
		if err != nil || len(resp.GetMistakes()) > 0 || len(resp.GetChanges()) != test.changes || (len(resp.GetDomains()) > 0) != test.tells {
			t.Errorf("%s, right %t: %v, %v; want %d changes, and operations: %t", test.role, test.key == right, resp, err, test.changes, test.tells)
		}
	}
}

// TestTryBringsTheNodeBack applies what cuts everybody off, another authority and another address, for a while.
func TestTryBringsTheNodeBack(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	patch := authorityPatch(t, standalone(t)) + "---\napiVersion: cyvive.dev/v1alpha1\nkind: Network\nlinks: [{name: eth0, addresses: [192.0.2.9/24]}]\n"
	resp := applyPatch(t, admin, configv1.Mode_MODE_TRY, patch)
	if tr := resp.GetTrial(); tr.GetRevision() != 2 || tr.GetBack() != 1 || tr.GetLeft().AsDuration() != defaultTry || len(resp.GetNotes()) != 1 {
		t.Errorf("answer: %v", resp)
	}
	if now, err := admin.Get(t.Context(), &configv1.GetRequest{}); err == nil && now.GetSettled() && len(o.dhcp.Clients()) > 0 {
		t.Error("the node calls itself settled while its network is the old one")
	}
	o.await("the wrong address", func(s snapshot) bool { return slices.Contains(s.network.Status.Addresses, prefix("192.0.2.9/24")) })
	o.eventually(t, "the caller is shut out", func() error {
		if _, err := admin.Get(t.Context(), &configv1.GetRequest{}); status.Code(err) != codes.Unauthenticated {
			return fmt.Errorf("the call ended with %v", err)
		}
		return nil
	})
	o.timeline.set(time.Minute + defaultTry)
	o.configs.changed.Wake()
	o.awaitOther("DHCP again", func() bool { return len(o.dhcp.Clients()) == 1 })
	o.dhcp.Grant("eth0", &network.Lease{Address: prefix("10.5.0.7/24")})
	o.wakers[plan.Network].Wake()
	o.await("the right address", func(s snapshot) bool { return slices.Contains(s.network.Status.Addresses, prefix("10.5.0.7/24")) })
	again := o.as(t, "alice", "node:admin")
	got, err := again.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || got.GetRevision().GetNumber() != 1 || got.GetTrial() != nil || got.GetLast().GetReason() != "it was not confirmed in time" {
		t.Errorf("after the trial: %v, %v", got, err)
	}
	_, err = again.Confirm(t.Context(), &configv1.ConfirmRequest{Revision: 2})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "was taken back, it was not confirmed in time") {
		t.Errorf("confirmed too late: %v", err)
	}
}

// TestTrialOverRestarts: a trial goes on when the agent is started again, ends in its time then too, and does not outlive its boot. Confirmed, it stays.
func TestTrialOverRestarts(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	hostname := func() string { return o.snapshot().input.Config.Machine.Hostname }
	applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\nhostname: tried\n")
	o.awaitOther("the trial", func() bool { return hostname() == "tried" })
	if _, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: "kind: Machine\nhostname: other\n"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("applied during a trial: %v", err)
	}
	o.restart(t, t.Name())
	if got := hostname(); got != "tried" {
		t.Errorf("host name %q after a restart of the agent", got)
	}
	o.timeline.set(time.Minute + defaultTry)
	o.configs.changed.Wake()
	o.awaitOther("the end of its time", func() bool { return hostname() == "node1" })

	admin = o.as(t, "alice", "node:admin")
	applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\nhostname: tried\n")
	o.awaitOther("the second trial", func() bool { return hostname() == "tried" })
	o.restart(t, "second")
	if got := hostname(); got != "node1" {
		t.Errorf("host name %q after a boot during a trial", got)
	}
	admin = o.as(t, "alice", "node:admin")
	got, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || !strings.Contains(got.GetLast().GetReason(), "started again before it was confirmed") {
		t.Errorf("after the boot: %v, %v", got, err)
	}

	resp := applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\nhostname: tried\n")
	o.eventually(t, "the node settles", func() error {
		now, err := admin.Get(t.Context(), &configv1.GetRequest{})
		if err == nil && (!now.GetSettled() || now.GetTrial().GetRevision() != resp.GetRevision()) {
			err = fmt.Errorf("got %v", now)
		}
		return err
	})
	if _, err := admin.Confirm(t.Context(), &configv1.ConfirmRequest{Revision: resp.GetRevision()}); err != nil {
		t.Fatal(err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\nhostname: other\n")
	back, err := admin.Rollback(t.Context(), &configv1.RollbackRequest{})
	if err != nil || back.GetRevision() != resp.GetRevision() {
		t.Errorf("roll a trial back: %v, %v", back, err)
	}
	o.restart(t, "third")
	if got := hostname(); got != "tried" {
		t.Errorf("host name %q after a boot, want what was confirmed", got)
	}
}

// TestTrialEndsWithoutDisk: a disk that neither takes nor gives anything does not keep the node from going back.
func TestTrialEndsWithoutDisk(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	hostname := func() string { return o.snapshot().input.Config.Machine.Hostname }
	applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\nhostname: tried\n")
	o.awaitOther("the trial", func() bool { return hostname() == "tried" })
	files, err := filepath.Glob(filepath.Join(o.state, "config", "*"))
	if err != nil || len(files) < 3 {
		t.Fatalf("files of the store: %v, %v", files, err)
	}
	for _, f := range append(files, filepath.Join(o.state, "config", "new")) {
		if err := errors.Join(os.RemoveAll(f), os.Mkdir(f, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	o.timeline.set(time.Minute + defaultTry)
	o.configs.changed.Wake()
	o.awaitOther("the way back", func() bool { return hostname() == "node1" })
}

// TestEndOfTheAgent: what was applied just before the end is for the next agent.
func TestEndOfTheAgent(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	applyPatch(t, o.as(t, "alice", "node:admin"), configv1.Mode_MODE_AUTO, "apiVersion: cyvive.dev/v1alpha1\nkind: Network\nnameservers: [10.5.0.53]\n")
	o.end()
	time.Sleep(2 * answerTime)
	if n := o.snapshot().input.Config.Network.Nameservers; len(n) > 0 {
		t.Errorf("name servers %v after the end", n)
	}
	o.start(t, o.state, t.Name())
	if n := o.snapshot().input.Config.Network.Nameservers; len(n) != 1 {
		t.Errorf("name servers %v of the next agent", n)
	}
}

// TestReboot: what needs a reboot waits for it, also over a restart of the agent, is refused by the modes that do not allow for it, and what a cluster has
// for its life is refused by all.
func TestReboot(t *testing.T) {
	t.Parallel()
	o := startOwned(t, documents(t))
	admin := o.as(t, "alice", "node:admin")
	const patch = "kind: Cluster\ndnsDomain: other.local\ncertSANs: [kubernetes.example]\n"
	for mode, want := range map[configv1.Mode]string{
		configv1.Mode_MODE_NO_REBOOT: "a reboot is needed for Cluster.dnsDomain", configv1.Mode_MODE_TRY: "what needs a reboot cannot be tried: Cluster.dnsDomain",
	} {
		_, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: patch, Mode: mode})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", mode, err)
		}
	}
	for _, never := range []string{"kind: Cluster\npodCIDR: 10.1.0.0/16\n", "kind: Machine\nhostname: node7\n"} {
		_, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: never, Mode: configv1.Mode_MODE_STAGED})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "a node cannot change") {
			t.Errorf("%s: %v", never, err)
		}
	}
	resp := applyPatch(t, admin, configv1.Mode_MODE_AUTO, patch)
	if p := resp.GetPending(); len(p) != 1 || p[0].GetField() != "Cluster.dnsDomain" || p[0].GetEffect() != configv1.Effect_EFFECT_REBOOT {
		t.Errorf("answer: %v", resp)
	}
	state := func() string {
		c := o.snapshot().input.Config.Cluster
		return fmt.Sprint(c.DNSDomain, c.CertSANs)
	}
	o.awaitOther("what is live", func() bool { return state() == "cluster.local[kubernetes.example]" })
	o.restart(t, t.Name())
	if got := state(); got != "cluster.local[kubernetes.example]" {
		t.Errorf("after a restart of the agent: %s", got)
	}
	admin = o.as(t, "alice", "node:admin")
	now, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || len(now.GetPending()) != 1 || !strings.Contains(now.GetDocument(), "dnsDomain: other.local") {
		t.Errorf("get: %v, %v", now.GetPending(), err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_NO_REBOOT, "kind: Cluster\nendpoint: https://kubernetes.example:6443\n")
	staged := applyPatch(t, admin, configv1.Mode_MODE_STAGED, "kind: Cluster\ncertSANs: [staged.example]\n")
	if got := state(); got != "cluster.local[kubernetes.example]" || len(staged.GetDomains()) > 0 {
		t.Errorf("after it was staged: %s, %v", got, staged)
	}
	o.restart(t, "second")
	if got := state(); got != "other.local[staged.example]" {
		t.Errorf("after a boot: %s", got)
	}
	admin = o.as(t, "alice", "node:admin")
	if now, err := admin.Get(t.Context(), &configv1.GetRequest{}); err != nil || len(now.GetPending()) > 0 || now.GetRevision().GetNumber() != staged.GetRevision() {
		t.Errorf("get after the boot: %v, %v", now.GetRevision(), err)
	}
}

// TestDryRunOfTheNextBoot: a dry run tells what is done at the next boot, of what is staged and of fields that need one, beside what is done at once.
func TestDryRunOfTheNextBoot(t *testing.T) {
	t.Parallel()
	o := startOwned(t, documents(t))
	admin := o.as(t, "alice", "node:admin")
	o.await("what Kubernetes waits for", func(s snapshot) bool { return s.desired.Waits[plan.Kubernetes] == "waiting for etcd to run" })
	dry := func(mode configv1.Mode, patch string) []*configv1.Domain {
		t.Helper()
		resp, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: patch, Mode: mode, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetDomains()
	}
	staged := dry(configv1.Mode_MODE_STAGED, "kind: Machine\ncertSANs: [a.example]\n---\napiVersion: cyvive.dev/v1alpha1\nkind: Network\nnameservers: [10.5.0.53]\n")
	for _, d := range staged {
		for _, op := range d.GetOperations() {
			if !strings.HasPrefix(op, atNextBoot) {
				t.Errorf("staged, %s: %s", d.GetName(), op)
			}
		}
	}
	if got := operations(staged); !strings.HasPrefix(got, "agent: at the next boot: issue the API's certificate\nnetwork: at the next boot: ") ||
		!strings.Contains(got, "at the next boot: set name servers [10.5.0.53]") {
		t.Errorf("staged:\n%s", got)
	}
	const patch = "kind: Machine\ncertSANs: [a.example]\nextensions: [{name: one, version: 1.0.0}]\n---\nkind: Cluster\ndnsDomain: other.local\n"
	got := operations(dry(configv1.Mode_MODE_AUTO, patch))
	if !strings.HasPrefix(got, "agent: issue the API's certificate, at the next boot: use as extensions: one 1.0.0\n") || !strings.Contains(got, "\nkubernetes: at the next boot: waiting for etcd to run") {
		t.Errorf("with what needs a reboot:\n%s", got)
	}
	checked, err := admin.Validate(t.Context(), &configv1.ValidateRequest{Patch: patch})
	if again := operations(checked.GetDomains()); err != nil || again != got {
		t.Errorf("validated, %v:\n%s\nwant\n%s", err, again, got)
	}
	if m := o.snapshot().input.Config.Machine; slices.Contains(m.CertSANs, "a.example") || len(m.Extensions) > 0 {
		t.Errorf("after all that: names %q, extensions %v", m.CertSANs, m.Extensions)
	}
}

// TestClusterIsNotTried: what runs of a cluster is not stopped before a reboot. So there is no trial of one, which could not end, and one that has begun in
// this boot is not given up in it, although the boot began without.
func TestClusterIsNotTried(t *testing.T) {
	t.Parallel()
	with := documents(t)
	whole, err := config.Parse("docs", with)
	if err != nil {
		t.Fatal(err)
	}
	without, err := config.Marshal(&config.Config{Machine: whole.Machine})
	if err != nil {
		t.Fatal(err)
	}
	o := startOwned(t, without)
	admin := o.as(t, "alice", "node:admin")
	refused := func(what, want string, err error) {
		t.Helper()
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", what, err, want)
		}
	}
	_, err = admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(with), Mode: configv1.Mode_MODE_TRY})
	refused("try", "what could not be taken back without a reboot cannot be tried: Cluster: ", err)
	// With something that waits for a reboot, the boot goes on to count as one that began without a cluster.
	const waits = "kind: Machine\nextensions: [{name: one, version: 1.0.0}]\n"
	resp, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(with), Patch: waits})
	if err != nil || len(resp.GetPending()) != 1 || resp.GetPending()[0].GetField() != "Machine.extensions" {
		t.Fatalf("apply: %v, %v", resp, err)
	}
	o.await("the cluster", func(s snapshot) bool { return s.input.Config.Cluster != nil })
	const begun = "it takes a reboot to give up what this boot has begun: Cluster: "
	for _, mode := range []configv1.Mode{configv1.Mode_MODE_AUTO, configv1.Mode_MODE_NO_REBOOT, configv1.Mode_MODE_TRY} {
		_, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(without), Mode: mode})
		refused("give up by "+mode.String(), begun, err)
	}
	_, err = admin.Rollback(t.Context(), &configv1.RollbackRequest{Revision: 1})
	refused("roll back", begun, err)
	if _, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(without), Mode: configv1.Mode_MODE_STAGED}); err != nil {
		t.Errorf("give up with the next boot: %v", err)
	}
	if o.snapshot().input.Config.Cluster == nil {
		t.Error("the cluster is in force no longer")
	}
}

// TestClusterGoesWithItsName: a node that is given another name as its cluster is removed keeps the name until that is stopped.
func TestClusterGoesWithItsName(t *testing.T) {
	t.Parallel()
	o := startOwned(t, documents(t))
	admin := o.as(t, "alice", "node:admin")
	hostname := func() string { return o.snapshot().input.Config.Machine.Hostname }
	resp := applyPatch(t, admin, configv1.Mode_MODE_AUTO, "kind: Cluster\n$patch: delete\n---\nkind: Machine\nhostname: node2\n")
	if p := resp.GetPending(); len(p) != 2 || p[0].GetField() != "Cluster" || p[1].GetField() != "Machine.hostname" {
		t.Errorf("what waits for a reboot: %v", p)
	}
	_, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Patch: "kind: Machine\nhostname: node3\n", Mode: configv1.Mode_MODE_NO_REBOOT})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "a reboot is needed for Machine.hostname") {
		t.Errorf("another name alone: %v", err)
	}
	applyPatch(t, admin, configv1.Mode_MODE_AUTO, "kind: Machine\ncertSANs: [node.example]\n")
	if err := o.presentedSoon("node.example"); err != nil { // all of it is in force by then
		t.Errorf("certificate: %v", err)
	}
	if got := hostname(); got != "node1" {
		t.Errorf("host name %q while the cluster runs", got)
	}
	o.restart(t, "second")
	if got := hostname(); got != "node2" {
		t.Errorf("host name %q after a boot", got)
	}
}

// TestClusterThatReturns: a cluster whose removal waits for a reboot runs as it began, and so it is what another one is compared with.
func TestClusterThatReturns(t *testing.T) {
	t.Parallel()
	o := startOwned(t, documents(t))
	admin := o.as(t, "alice", "node:admin")
	gone := applyPatch(t, admin, configv1.Mode_MODE_AUTO, "kind: Cluster\n$patch: delete\n")
	if p := gone.GetPending(); len(p) != 1 || p[0].GetField() != "Cluster" {
		t.Errorf("removed: %v", gone)
	}
	for _, mode := range []configv1.Mode{configv1.Mode_MODE_NO_REBOOT, configv1.Mode_MODE_TRY} {
		_, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(o.docs), Patch: "kind: Cluster\ndnsDomain: other.local\n", Mode: mode})
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "Cluster.dnsDomain") {
			t.Errorf("with another domain, %s: %v", mode, err)
		}
	}
	if _, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: string(o.docs), Mode: configv1.Mode_MODE_TRY}); err != nil {
		t.Errorf("as it runs: %v", err)
	}
}

// TestWhatGoesFromALink: what a link is not to have any longer goes at once, also what is of IPv6, and so does a whole link.
func TestWhatGoesFromALink(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	o.host.AddLink("eth1", "52:54:00:00:00:02", true)
	o.host.SetCarrier("eth1", true)
	admin := o.as(t, "alice", "node:admin")
	for _, step := range []struct{ links, want string }{
		{"{name: eth0, addresses: [10.5.0.9/24, '2001:db8::1/64']}", "eth0 up=true [10.5.0.9/24 2001:db8::1/64] via []\neth1 up=false [] via []\n"},
		{
			"{name: eth0, addresses: [10.5.0.9/24]}, {name: eth1, addresses: ['2001:db8::2/64'], gateway: '2001:db8::9'}",
			"eth0 up=true [10.5.0.9/24] via []\neth1 up=true [2001:db8::2/64] via [2001:db8::9 metric 2]\n",
		},
		{"{name: eth0, addresses: [10.5.0.9/24]}", "eth0 up=true [10.5.0.9/24] via []\neth1 up=false [] via []\n"},
	} {
		// The list would be merged by the names of its items.
		const header = "apiVersion: cyvive.dev/v1alpha1\nkind: Network\n"
		document := string(o.docs) + "---\n" + header + "links: [" + step.links + "]\n"
		resp, err := admin.Apply(t.Context(), &configv1.ApplyRequest{Document: document, Mode: configv1.Mode_MODE_NO_REBOOT})
		if err != nil || len(resp.GetPending()) > 0 {
			t.Fatalf("apply %s: %v, %v", step.links, resp, err)
		}
		o.eventually(t, step.links, func() error { return ends(o.host.String(), step.want) })
	}
}

func ends(text, want string) error {
	if !strings.HasSuffix(text, want) {
		return fmt.Errorf("got\n%swant at its end\n%s", text, want)
	}
	return nil
}

// TestTryTakesLinksBack: a trial that moves the default route to a link which the configuration before does not name, and gives that a network in which
// everybody is, ends with the host as it was.
func TestTryTakesLinksBack(t *testing.T) {
	t.Parallel()
	const links = "apiVersion: cyvive.dev/v1alpha1\nkind: Network\nlinks: [{name: eth0, addresses: [10.5.0.9/24], gateway: 10.5.0.1}]\n"
	docs, err := config.Merge(standalone(t), []byte(links))
	if err != nil {
		t.Fatal(err)
	}
	o := startOwned(t, docs)
	o.host.AddLink("eth1", "52:54:00:00:00:02", true)
	o.host.SetCarrier("eth1", true)
	const before = "eth0 up=true [10.5.0.9/24] via [10.5.0.1 metric 1]\neth1 up=false [] via []\n"
	o.eventually(t, "the network of before", func() error { return ends(o.host.String(), before) })
	applyPatch(t, o.as(t, "alice", "node:admin"), configv1.Mode_MODE_TRY,
		"kind: Network\nlinks: [{name: eth0, gateway: null}, {name: eth1, addresses: [10.0.0.1/8, '2001:db8::1/32'], gateway: 10.0.0.2}]\n")
	o.eventually(t, "the trial", func() error {
		return ends(o.host.String(), "eth0 up=true [10.5.0.9/24] via []\neth1 up=true [10.0.0.1/8 2001:db8::1/32] via [10.0.0.2 metric 2]\n")
	})
	o.timeline.set(time.Minute + defaultTry)
	o.configs.changed.Wake()
	o.eventually(t, "the network of before again", func() error { return ends(o.host.String(), before) })
}

// TestUnstage: a rollback to the current revision gives up what is staged, on a node that goes by its source, too.
func TestUnstage(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	for _, name := range []string{"of the source", "applied"} {
		staged := applyPatch(t, admin, configv1.Mode_MODE_STAGED, "kind: Machine\nhostname: staged\n").GetRevision()
		now, err := admin.Get(t.Context(), &configv1.GetRequest{})
		if err != nil || now.GetStaged() != staged {
			t.Fatalf("%s: staged is %d, %v; want %d", name, now.GetStaged(), err, staged)
		}
		current := now.GetRevision().GetNumber()
		dry, err := admin.Rollback(t.Context(), &configv1.RollbackRequest{Revision: current, DryRun: true})
		if want := fmt.Sprintf("revision %d, which was staged, is given up", staged); err != nil || !slices.Contains(dry.GetNotes(), want) {
			t.Errorf("%s, dry run: %v, %v; want %q", name, dry, err, want)
		}
		if now, err = admin.Get(t.Context(), &configv1.GetRequest{}); err != nil || now.GetStaged() != staged {
			t.Errorf("%s, after the dry run: staged is %d, %v", name, now.GetStaged(), err)
		}
		back, err := admin.Rollback(t.Context(), &configv1.RollbackRequest{Revision: current})
		if err != nil || len(back.GetChanges()) > 0 {
			t.Errorf("%s: %v, %v", name, back, err)
		}
		if now, err = admin.Get(t.Context(), &configv1.GetRequest{}); err != nil || now.GetStaged() != 0 {
			t.Errorf("%s: staged is %d, %v", name, now.GetStaged(), err)
		}
	}
	o.restart(t, "second")
	if n := o.snapshot().input.Config.Machine.Hostname; n != "node1" {
		t.Errorf("host name %q after a boot", n)
	}
}

// TestRollbackThatIsRefused does not end a trial.
func TestRollbackThatIsRefused(t *testing.T) {
	t.Parallel()
	o := startOwned(t, documents(t))
	o.end()
	other, err := config.Merge(o.docs, []byte("kind: Cluster\npodCIDR: 10.9.0.0/16\n"))
	if err != nil {
		t.Fatal(err)
	}
	applied(t, o.state, other) // as it cannot be over the API
	o.start(t, o.state, "second")
	admin := o.as(t, "alice", "node:admin")
	tried := applyPatch(t, admin, configv1.Mode_MODE_TRY, "kind: Machine\ncertSANs: [tried.example]\n").GetRevision()
	_, err = admin.Rollback(t.Context(), &configv1.RollbackRequest{Revision: 1})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "a node cannot change Cluster.podCIDR") {
		t.Errorf("roll back: %v", err)
	}
	now, err := admin.Get(t.Context(), &configv1.GetRequest{})
	if err != nil || now.GetTrial().GetRevision() != tried {
		t.Errorf("after that: %v, %v", now.GetTrial(), err)
	}
}

// TestCurrentThatIsNotInForce: the current revision, given again, is nothing to be done, unless it is not in force.
func TestCurrentThatIsNotInForce(t *testing.T) {
	t.Parallel()
	store, err := configstore.Open(configstore.OSDir(filepath.Join(t.TempDir(), "config")), configstore.Config{
		Now: time.Now, Boot: t.Name(), SinceBoot: func() time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	document := []byte("kind: Machine\n")
	_, err = store.Add(configstore.Revision{Mode: configstore.Auto, Document: document},
		func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Applied(n, true) })
	if err != nil {
		t.Fatal(err)
	}
	for _, leaves := range []bool{false, true} {
		done, err := draft{by: server.ConfigAuto, document: document, leaves: leaves}.isCurrent(store)
		if err != nil || done == leaves {
			t.Errorf("nothing in force %t: done %t, %v", leaves, done, err)
		}
	}
}

// TestDamagedRevision: a revision that the disk has spoilt gives way to the one before, and the node says why. What the source has does not come back.
func TestDamagedRevision(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	admin := o.as(t, "alice", "node:admin")
	for _, name := range []string{"node2", "node3"} {
		applyPatch(t, admin, configv1.Mode_MODE_AUTO, "kind: Machine\nhostname: "+name+"\n")
	}
	o.end()
	if err := os.Truncate(filepath.Join(o.state, "config", "revision-00000003"), 100); err != nil {
		t.Fatal(err)
	}
	o.start(t, o.state, "second")
	got, err := o.as(t, "alice", "node:admin").Get(t.Context(), &configv1.GetRequest{})
	if err != nil || got.GetRevision().GetNumber() != 2 || o.snapshot().input.Config.Machine.Hostname != "node2" {
		t.Errorf("current: %v, %v", got.GetRevision(), err)
	}
	if p := got.GetProblems(); len(p) != 1 || !strings.Contains(p[0], "revision 3 cannot be used, the one before it counts, which is 2: read revision 3: it is damaged") {
		t.Errorf("problems: %q", p)
	}
}

// spoilCurrent makes a revision current, in the folder of a state volume, that is of another release.
func spoilCurrent(t *testing.T, state string) {
	t.Helper()
	store, err := configstore.Open(configstore.OSDir(filepath.Join(state, "config")), configstore.Config{
		Now: time.Now, Boot: "of another release", SinceBoot: func() time.Duration { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Add(configstore.Revision{Mode: configstore.Auto, Document: []byte("apiVersion: cyvive.dev/v9\nkind: Machine\n")},
		func(r configstore.Record, n uint64) (configstore.Record, error) { return r.Applied(n, true) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestReleaseThatCannotUseIt: a revision that this release cannot use stays the current one, and the node says what is wrong with it, for its trial to
// fail. Older revisions and the source do not take its place.
func TestReleaseThatCannotUseIt(t *testing.T) {
	t.Parallel()
	o := startOwned(t, standalone(t))
	applyPatch(t, o.as(t, "alice", "node:admin"), configv1.Mode_MODE_AUTO, "kind: Machine\nhostname: node2\n")
	o.end()
	spoilCurrent(t, o.state)
	_, key := newOwner(t)
	n := startNodeWith(t, o.state, o.disk, func(c *Config) {
		c.Source.(*source).found = []maintenance.Claim{{From: "user-data", Key: key}}
	})
	n.source.set(o.docs)
	n.await("the reason", func(s snapshot) bool {
		return strings.HasPrefix(reasonOf(s, "config"), "use revision 3 of the state volume: revision 3:1: Machine.apiVersion: got")
	})
	// Who owns it is said by places that are not asked for a configuration.
	n.await("its owner", func(s snapshot) bool { return s.owner.Key == key })
	if r := n.configs.store.Record(); r.Current != 3 || n.snapshot().input.Config != nil {
		t.Errorf("revision %d is current, and in force is %v", r.Current, n.snapshot().input.Config)
	}
	// It can be replaced.
	document := server.ConfigDocument{Document: string(o.docs)}
	if check, err := (configsAPI{n.Agent}).ValidateConfig(t.Context(), document, true); err != nil || len(check.Mistakes) > 0 {
		t.Errorf("validate another: %v, %v", check, err)
	}
	if _, err := (configsAPI{n.Agent}).ApplyConfig(t.Context(), server.ConfigRequest{ConfigDocument: document, Mode: server.ConfigAuto}); err != nil {
		t.Fatal(err)
	}
	n.await("another", func(s snapshot) bool { return s.input.Config != nil && reasonOf(s, "config") == "" })
}

// TestSealedConfiguration: what is on an encrypted disk is not replaced by what somebody puts beside the machine while it is off.
func TestSealedConfiguration(t *testing.T) {
	t.Parallel()
	disk, state := storagetest.New(1<<30), t.TempDir()
	start := func(boot, docs string, claims ...maintenance.Claim) *node {
		disk.Boot(true)
		n := startNodeWith(t, state, disk, func(c *Config) {
			c.Boot.ID, c.Boot.TPM, c.Storage = boot, true, storage.New(disk, disk, disk, disk)
			c.Source.(*source).own(claims...)
		})
		n.source.set([]byte(docs))
		return n
	}
	good := string(withEncryption(t, "tpm"))
	n := start("first", good)
	n.await("an encrypted disk", func(s snapshot) bool {
		return s.storage.Status.Ready && s.identity && s.storage.Status.Volumes[0].Encrypted
	})
	// It is found, and not applied.
	record := func() (r configstore.Record) {
		n.configs.mu.Lock()
		defer n.configs.mu.Unlock()
		if n.configs.store != nil {
			r = n.configs.store.Record()
		}
		return r
	}
	for deadline := time.Now().Add(20 * time.Second); record().Current == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no configuration was stored")
		}
	}
	if r := record(); r.Owned {
		t.Fatalf("the record is %+v", r)
	}
	n.end()
	n = start("second", strings.Replace(good, "node1", "evil", 1))
	n.await("a configuration", func(s snapshot) bool { return s.input.Config != nil })
	if got := n.snapshot().input.Config.Machine.Hostname; got != "node1" {
		t.Errorf("the host name is %q", got)
	}
	n.end()
	// Not even where this release cannot use it: then only who is named by what was started may give it another.
	spoilCurrent(t, state)
	_, evil := newOwner(t)
	_, own := newOwner(t)
	n = start("third", strings.Replace(good, "node1", "evil", 1), maintenance.Claim{From: "SMBIOS", Key: evil}, maintenance.Claim{From: "the image", Key: own, Measured: true})
	n.await("an owner", func(s snapshot) bool { return !s.owner.Key.IsZero() })
	if s := n.snapshot(); s.owner.Key != own || len(s.owner.Conflicts) > 0 || s.input.Config != nil {
		t.Errorf("the owner is %+v, and in force is %v", s.owner, s.input.Config)
	}
}

// TestWithoutStateVolume: a node whose state volume cannot be used takes what its source has, and says what is wrong.
func TestWithoutStateVolume(t *testing.T) {
	t.Parallel()
	disk := storagetest.New(1 << 30)
	disk.FailPower(0)
	n := startNode(t, t.TempDir(), disk)
	n.source.set(standalone(t))
	n.await("the configuration of the source", func(s snapshot) bool { return s.input.Config != nil })
	_, err := configsAPI{n.Agent}.GetConfig(context.Background(), 0)
	if err == nil || !strings.Contains(err.Error(), "power failed") {
		t.Errorf("get: %v", err)
	}
}

// TestStoreThatCannotBeOpened: the reason is told, and the store is opened once it is gone.
func TestStoreThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	o := &owned{disk: storagetest.New(1 << 30), docs: standalone(t)}
	state := t.TempDir()
	if err := os.WriteFile(filepath.Join(state, "config"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.node = startNode(t, state, o.disk)
	o.source.set(o.docs)
	get := func() error { return errOf(configsAPI{o.Agent}.GetConfig(t.Context(), 0)) }
	o.eventually(t, "the reason is told", func() error {
		if err := get(); !errors.Is(err, server.ErrUnavailable) || !strings.Contains(err.Error(), "not a directory") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	if err := os.Remove(filepath.Join(state, "config")); err != nil {
		t.Fatal(err)
	}
	o.eventually(t, "the configuration is stored", get)
}

// TestNetworkOfALostConfiguration: the agent of a running node is started again, and cannot read the configuration that the one before had. It does not take back
// what that has set.
func TestNetworkOfALostConfiguration(t *testing.T) {
	t.Parallel()
	docs := append(standalone(t), `---
apiVersion: cyvive.dev/v1alpha1
kind: Network
links: [{name: eth0, addresses: [10.5.0.9/24], gateway: 10.5.0.1}, {name: eth1, addresses: [10.7.0.9/24, "fd00:7::9/64"]}]
nameservers: [10.5.0.53]
`...)
	o := &owned{authority: authorityOf(t, docs), disk: storagetest.New(1 << 30), docs: docs}
	o.node = startNode(t, t.TempDir(), o.disk)
	o.host.AddLink("eth1", "52:54:00:00:00:02", true)
	o.host.SetCarrier("eth1", true)
	o.source.set(docs)
	o.await("the network", func(s snapshot) bool { return s.network.Status.Ready && len(s.network.Status.Addresses) == 3 })
	o.as(t, "alice", "node:admin") // it is stored then
	o.end()
	before := o.host.String()
	store := filepath.Join(o.state, "config")
	if err := errors.Join(os.RemoveAll(store), os.WriteFile(store, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	b := startBareWith(t, o.state, o.disk, func(c *Config) {
		c.Network = network.New(o.host, &networktest.DHCP{}, &networktest.Services{})
	}, maintenance.Claim{From: "the image"})
	b.await("a look at the network", func(s snapshot) bool {
		return s.desired.Network != nil && s.networkFrom > 0 && s.network.Satisfied && s.network.Generation >= s.networkFrom
	})
	if after := o.host.String(); after != before {
		t.Errorf("the network was\n%s\nand is\n%s", before, after)
	}
}
