package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func fingerprint(t *testing.T, key crypto.Signer) pki.Fingerprint {
	t.Helper()
	f, err := pki.FingerprintOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ownerCertificate is what an owner shows, valid from a time on for an hour.
func ownerCertificate(t *testing.T, key crypto.Signer, from time.Time, roles ...string) *tls.Certificate {
	t.Helper()
	c, err := pki.OwnerCertificate(key, pki.OwnerRequest{CommonName: "owner", Organizations: roles, NotBefore: from, NotAfter: from.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// startOwned serves a node in maintenance mode whose owner has a key.
func startOwned(t *testing.T, n *servertest.Node, owner crypto.Signer, log server.Audit) *servertest.API {
	t.Helper()
	api := servertest.Start(t, n, nil, log)
	api.SetUnconfigured(t, server.Unconfigured{Audience: server.AudienceOwner, Owner: fingerprint(t, owner), Source: "the image", Conflicts: []string{"a volume: another"}})
	return api
}

func detailsOf(err error) map[string]string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetMetadata()
		}
	}
	return nil
}

// TestMaintenanceTable walks every registered method, for everybody who could call it on a node without a configuration.
func TestMaintenanceTable(t *testing.T) {
	owner, now := newKey(t), time.Now()
	owned := server.Unconfigured{Audience: server.AudienceOwner, Owner: fingerprint(t, owner)}
	for _, test := range []struct {
		name   string
		node   server.Unconfigured
		client *tls.Certificate
		may    map[any]bool
		code   codes.Code
		reason server.Reason
	}{
		{"a stranger, no owner", server.Unconfigured{Audience: server.AudienceAnybody}, nil, map[any]bool{server.ForAnyone: true}, codes.FailedPrecondition, server.ReasonMaintenance},
		{"a certificate, no owner", server.Unconfigured{Audience: server.AudienceAnybody}, ownerCertificate(t, owner, now, "node:admin"),
			map[any]bool{server.ForAnyone: true}, codes.FailedPrecondition, server.ReasonMaintenance},
		{"a stranger", owned, nil, nil, codes.Unauthenticated, server.ReasonOwnerOnly},
		{"another owner", owned, ownerCertificate(t, newKey(t), now, "node:admin"), nil, codes.Unauthenticated, server.ReasonOtherOwner},
		{"the owner", owned, ownerCertificate(t, owner, now, "node:admin"), map[any]bool{server.ForAnyone: true, server.ForOwner: true},
			codes.FailedPrecondition, server.ReasonMaintenance},
		{"a stranger, before it is known", server.Unconfigured{}, nil, nil, codes.Unavailable, server.ReasonClosed},
		{"the owner, before it is known", server.Unconfigured{Owner: fingerprint(t, owner)}, ownerCertificate(t, owner, now, "node:admin"), nil,
			codes.Unavailable, server.ReasonClosed},
		{"no key at all", server.Unconfigured{Audience: server.AudienceOwner}, nil, nil, codes.Unavailable, server.ReasonClosed},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := &servertest.Node{InventoryValue: &inventoryv1.Inventory{}}
			api := servertest.Start(t, node, nil, nil)
			api.SetUnconfigured(t, test.node)
			conn := dial(t, api, nil, test.client)
			reached := 0
			for _, method := range slices.Sorted(maps.Keys(registered())) {
				err, access := call(t, conn, method), server.InMaintenance()[method]
				if !test.may[access] {
					if status.Code(err) != test.code || reason(err) != string(test.reason) {
						t.Errorf("%s: got %v with reason %q, want %v, reason %s", method, err, reason(err), test.code, test.reason)
					}
					continue
				}
				reached++
				// An empty request is not valid for some, but it came that far.
				if c := status.Code(err); c != codes.OK && (c != codes.InvalidArgument || reason(err) != "") {
					t.Errorf("%s: got %v, want it allowed", method, err)
				}
			}
			if reached == 0 && len(node.Calls()) > 0 {
				t.Errorf("calls reached the node: %v", node.Calls())
			}
			if (reached == 0) != (test.may == nil) {
				t.Errorf("%d methods answered", reached)
			}
		})
	}
}

// TestOwnersCertificate has everything that can be wrong with what an owner shows, and clocks that are.
func TestOwnersCertificate(t *testing.T) {
	owner, now := newKey(t), time.Now()
	good := ownerCertificate(t, owner, now.Add(-time.Minute), "node:admin")
	foreign := ownerCertificate(t, newKey(t), now.Add(-time.Minute), "node:admin")
	stolen := *good
	stolen.PrivateKey = newKey(t)
	for _, test := range []struct {
		name   string
		client *tls.Certificate
		clock  time.Duration // of the node, beside the real time
		reason server.Reason
		words  string
	}{
		{"good", good, 0, "", ""},
		{"with a role more", ownerCertificate(t, owner, now, "node:admin", "node:reader", "Example Ltd"), 0, "", ""},
		{"a clock that is years behind", good, -5 * 365 * 24 * time.Hour, "", ""},
		{"valid in a year only", ownerCertificate(t, owner, now.Add(365*24*time.Hour), "node:admin"), 0, "", ""},
		{"expired", ownerCertificate(t, owner, now.Add(-2*time.Hour), "node:admin"), 0, server.ReasonExpired, "expired at "},
		{"a clock that is ahead", good, 24 * time.Hour, server.ReasonExpired, "the node's clock, which nobody has set yet, says "},
		{"without the owner's key behind it", &tls.Certificate{Certificate: good.Certificate[:1], PrivateKey: good.PrivateKey}, 0, server.ReasonOtherOwner,
			"does not come with the owner's key: expected " + fingerprint(t, owner).String() + ", got SHA256:"},
		{"signed by another, with the owner's key behind it", &tls.Certificate{Certificate: [][]byte{foreign.Certificate[0], good.Certificate[1]}, PrivateKey: foreign.PrivateKey},
			0, server.ReasonOtherOwner, "is not signed by the owner's key"},
		{"one in between", between(t, owner, now), 0, server.ReasonOtherOwner, "is not signed by the owner's key"},
		{"no role", ownerCertificate(t, owner, now), 0, server.ReasonNoRole, "carries no role"},
		{"a role that is none", ownerCertificate(t, owner, now, "root"), 0, server.ReasonUnknownRole, `no known role but "root"`},
		{"a lesser role", ownerCertificate(t, owner, now, "node:operator"), 0, server.ReasonWrongRole, "needs the role node:admin and has node:operator"},
		{"a server's", signed(t, owner, now, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), 0,
			server.ReasonWrongUsage, "not made for clients"},
		{"for no use in particular", signed(t, owner, now, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), 0, server.ReasonWrongUsage, "not made for clients"},
		{"what cannot be understood", signed(t, owner, now, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), 0, server.ReasonBadCertificate, "1.2.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := &servertest.Node{}
			api := startOwned(t, node, owner, nil)
			api.Advance(test.clock)
			err := call(t, dial(t, api, nil, test.client), machinev1.MachineService_GetHealth_FullMethodName)
			if reason(err) != string(test.reason) || (err == nil) != (test.reason == "") || !strings.Contains(status.Convert(err).Message(), test.words) {
				t.Errorf("got %v with reason %q, want %q with %q", err, reason(err), test.reason, test.words)
			}
			if err != nil && len(node.Calls()) > 0 {
				t.Errorf("calls reached the node: %v", node.Calls())
			}
		})
	}
	node := &servertest.Node{}
	api := startOwned(t, node, owner, nil)
	if err := call(t, dial(t, api, nil, &stolen), machinev1.MachineService_GetHealth_FullMethodName); err == nil || len(node.Calls()) > 0 {
		t.Error("a certificate was accepted without its key")
	}
	// The node's authority of later has no say now.
	err := call(t, dial(t, api, nil, withRoles(t, servertest.Authority(t, "ours"), "node:admin")), machinev1.MachineService_GetHealth_FullMethodName)
	if reason(err) != string(server.ReasonOtherOwner) {
		t.Errorf("an authority's client: got %v", err)
	}
	if m := detailsOf(err); !cmp.Equal(m, map[string]string{"state": "maintenance", "owner": fingerprint(t, owner).String()}) {
		t.Errorf("for programs: %v", m)
	}
}

// TestWeakOwner: a fingerprint is followed only as far as its key is good.
func TestWeakOwner(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	api := startOwned(t, &servertest.Node{}, weak, nil)
	err = call(t, dial(t, api, nil, ownerCertificate(t, weak, time.Now(), "node:admin")), machinev1.MachineService_GetHealth_FullMethodName)
	if reason(err) != string(server.ReasonBadCertificate) || !strings.Contains(err.Error(), "an RSA key of 1024 bits") {
		t.Errorf("got %v", err)
	}
}

// signed makes a certificate of the owner's that is changed.
func signed(t *testing.T, owner crypto.Signer, now time.Time, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "owner", Organization: []string{"node:admin"}}, NotBefore: now, NotAfter: now.Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	parent := ownerCertificate(t, owner, now).Certificate[1]
	issuer, err := x509.ParseCertificate(parent)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, parent}, PrivateKey: key}
}

// between makes a certificate that is signed by one which the owner's key has signed.
func between(t *testing.T, owner crypto.Signer, now time.Time) *tls.Certificate {
	t.Helper()
	middle := signed(t, owner, now, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	leaf := signed(t, middle.PrivateKey.(crypto.Signer), now, func(*x509.Certificate) {})
	return &tls.Certificate{Certificate: append([][]byte{leaf.Certificate[0]}, middle.Certificate...), PrivateKey: leaf.PrivateKey}
}

func TestIdentity(t *testing.T) {
	owner, authority := newKey(t), servertest.Authority(t, "ours")
	api := startOwned(t, &servertest.Node{}, owner, nil)
	ask := func(client *tls.Certificate) *machinev1.GetIdentityResponse {
		t.Helper()
		got, err := machinev1.NewMachineServiceClient(dial(t, api, nil, client)).GetIdentity(t.Context(), &machinev1.GetIdentityRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := ask(ownerCertificate(t, owner, time.Now(), "node:admin"))
	if got.GetState() != machinev1.NodeState_NODE_STATE_MAINTENANCE || got.GetFingerprint() != api.Fingerprint.String() || got.GetOwner() != fingerprint(t, owner).String() ||
		got.GetOwnerSource() != "the image" || len(got.GetOwnerConflicts()) != 1 || time.Since(got.GetTime().AsTime()).Abs() > time.Minute {
		t.Errorf("with an owner: %v", got)
	}
	api.SetUnconfigured(t, server.Unconfigured{Audience: server.AudienceAnybody})
	if got := ask(nil); got.GetState() != machinev1.NodeState_NODE_STATE_MAINTENANCE || got.GetOwner() != "" || got.GetOwnerSource() != "" || got.GetRecipient() != servertest.Recipient {
		t.Errorf("without an owner: %v", got)
	}
	// The key stays when the authority signs for it.
	api.SetAuthority(t, authority)
	if got := ask(withRoles(t, authority, "node:reader")); got.GetState() != machinev1.NodeState_NODE_STATE_CONFIGURED || got.GetFingerprint() != api.Fingerprint.String() || got.GetOwner() != "" {
		t.Errorf("configured: %v", got)
	}
}

// TestMaintenance goes from maintenance mode to a configuration on one listener, with a stream under way and connections that are open.
func TestMaintenance(t *testing.T) {
	owner, authority := newKey(t), servertest.Authority(t, "ours")
	node := &servertest.Node{Checks: []server.Check{{Name: "config", Reason: "user-data:3: no such field"}}}
	api := startOwned(t, node, owner, nil)
	conn := dial(t, api, nil, ownerCertificate(t, owner, time.Now(), "node:admin"))
	stream, err := machinev1.NewMachineServiceClient(conn).WatchHealth(t.Context(), &machinev1.WatchHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	v, err := machinev1.NewMachineServiceClient(conn).GetVersion(t.Context(), &machinev1.GetVersionRequest{})
	if err != nil || !v.GetMaintenance() {
		t.Errorf("GetVersion: got %v, %v, want maintenance", v, err)
	}
	node.Configs.OnApply = func(string) { // the answer gets out before the configuration is in force
		time.AfterFunc(100*time.Millisecond, func() { api.SetAuthority(t, authority) })
	}
	if _, err := configv1.NewConfigServiceClient(conn).Apply(t.Context(), &configv1.ApplyRequest{Document: machineDocument(t, authority)}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); reason(err) != string(server.ReasonConfigured) || !strings.Contains(err.Error(), "connect again, with a certificate of that configuration's authority") {
		t.Errorf("a stream of the owner's: got %v", err)
	}
	if err := call(t, conn, machinev1.MachineService_GetVersion_FullMethodName); reason(err) != string(server.ReasonUnknownAuthority) {
		t.Errorf("the owner afterwards: got %v", err)
	}
	awaitEnd(t, conn)
	v, err = machinev1.NewMachineServiceClient(dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))).
		GetVersion(t.Context(), &machinev1.GetVersionRequest{})
	if err != nil || v.GetMaintenance() {
		t.Errorf("once configured: got %v, %v", v, err)
	}
}

// TestConnectionFromBeforeTheConfiguration: a client that the configuration lets in may have connected before that was in force, and have waited for it. Nothing
// is done on such a connection, as it is about to be closed: who changed something would not get the answer.
func TestConnectionFromBeforeTheConfiguration(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	node := &servertest.Node{}
	node.Configs.OnApply = func(string) { time.Sleep(1500 * time.Millisecond) } // it ends when connections of before are closed
	api := startOwned(t, node, newKey(t), nil)
	conn := dial(t, api, nil, withRoles(t, authority, "node:admin"))
	if err := call(t, conn, machinev1.MachineService_GetVersion_FullMethodName); reason(err) != string(server.ReasonOtherOwner) {
		t.Fatalf("before: got %v", err)
	}
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{*withRoles(t, authority, "node:reader")},
	}}}
	t.Cleanup(web.CloseIdleConnections)
	scrape := func(want int) {
		t.Helper()
		response, err := web.Get("https://" + api.Address + server.MetricsPath)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != want { // it keeps the connection then
			t.Errorf("metrics: got %s, %v, want %d", response.Status, err, want)
		}
	}
	scrape(http.StatusUnauthorized)
	api.SetAuthority(t, authority)
	scrape(http.StatusServiceUnavailable)
	request := &configv1.ApplyRequest{Document: machineDocument(t, authority)}
	configs := configv1.NewConfigServiceClient(conn)
	if _, err := configs.Apply(t.Context(), request); status.Code(err) != codes.Unavailable || reason(err) != string(server.ReasonConfigured) {
		t.Errorf("on the connection of before: got %v, want that the node has its configuration now", err)
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %v", calls)
	}
	awaitEnd(t, conn)
	if _, err := configs.Apply(t.Context(), request); err != nil {
		t.Errorf("on another connection: %v", err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got, verified := api.Server.Size(); got == verified {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a connection of before stays open")
		}
	}
	scrape(http.StatusOK)
}

// awaitEnd waits until the node has closed a connection.
func awaitEnd(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); conn.GetState() == connectivity.Ready; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection stays open")
		}
	}
}

func machineDocument(t *testing.T, a *pki.Authority) string {
	t.Helper()
	indent := func(text []byte) string { return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ") }
	return "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: node1\nca:\n  certificate: |\n    " + indent(a.CertificatePEM()) + "\n  key: |\n    " + indent(a.KeyPEM()) + "\n"
}

// TestMaintenanceIsAudited: the owner's calls are in the log by name, strangers' too, and strangers cannot flood it, not even with what they may ask.
func TestMaintenanceIsAudited(t *testing.T) {
	log, owner := openAudit(t), newKey(t)
	api := startOwned(t, &servertest.Node{}, owner, log)
	version, health, boots := machinev1.MachineService_GetVersion_FullMethodName, machinev1.MachineService_GetHealth_FullMethodName, machinev1.MachineService_ListBoots_FullMethodName
	mine := dial(t, api, nil, ownerCertificate(t, owner, time.Now(), "node:admin"))
	_ = call(t, dial(t, api, nil, nil), health)
	_ = call(t, dial(t, api, nil, ownerCertificate(t, newKey(t), time.Now(), "node:admin")), health)
	_ = call(t, mine, health)
	_ = call(t, mine, boots)
	_ = call(t, mine, machinev1.MachineService_Reboot_FullMethodName)
	api.SetUnconfigured(t, server.Unconfigured{Audience: server.AudienceAnybody})
	stranger := dial(t, api, nil, nil)
	const flood = 190
	for range flood {
		if err := call(t, stranger, version); err != nil {
			t.Fatal(err)
		}
	}
	api.Stop(t)
	entries := recorded(t, log)
	want := []string{
		"call GetHealth Unauthenticated", "call GetHealth Unauthenticated owner", "call GetHealth OK owner", "call ListBoots FailedPrecondition owner",
		"begin Reboot  owner", "call Reboot OK owner",
	}
	if diff := cmp.Diff(want, summaries(entries)[:len(want)]); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if e := entries[2]; e.Roles != "node:admin" || e.Serial == "" {
		t.Errorf("the owner's entry is not whole: %+v", e)
	}
	if got := len(entries); got > flood/2 {
		t.Errorf("%d entries of a flood of %d calls that are allowed", got, flood)
	}
}

// TestOwnerAsksForHardware: what comes back is the node's own.
func TestOwnerAsksForHardware(t *testing.T) {
	owner := newKey(t)
	api := startOwned(t, &servertest.Node{InventoryValue: &inventoryv1.Inventory{System: &inventoryv1.System{Product: "x"}}}, owner, nil)
	got, err := inventoryv1.NewInventoryServiceClient(dial(t, api, nil, ownerCertificate(t, owner, time.Now(), "node:admin"))).
		GetInventory(t.Context(), &inventoryv1.GetInventoryRequest{})
	if err != nil || got.GetInventory().GetSystem().GetProduct() != "x" {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = inventoryv1.NewInventoryServiceClient(dial(t, api, nil, nil)).GetInventory(t.Context(), &inventoryv1.GetInventoryRequest{})
	if err == nil || errors.Is(err, t.Context().Err()) {
		t.Errorf("a stranger: %v", err)
	}
}

// TestMetricsInMaintenance: metrics are for nobody then, whatever is shown.
func TestMetricsInMaintenance(t *testing.T) {
	owner := newKey(t)
	api := startOwned(t, &servertest.Node{}, owner, nil)
	for name, test := range map[string]struct {
		client *tls.Certificate
		want   int
	}{
		"a stranger": {nil, http.StatusUnauthorized}, "another owner": {ownerCertificate(t, newKey(t), time.Now(), "node:admin"), http.StatusUnauthorized},
		"the owner": {ownerCertificate(t, owner, time.Now(), "node:admin"), http.StatusForbidden},
	} {
		config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true}
		if test.client != nil {
			config.Certificates = []tls.Certificate{*test.client}
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
		response, err := client.Get("https://" + api.Address + server.MetricsPath)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		client.CloseIdleConnections()
		if response.StatusCode != test.want {
			t.Errorf("%s: got %s, want %d", name, response.Status, test.want)
		}
	}
}
