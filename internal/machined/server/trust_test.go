package server_test

import (
	"crypto/tls"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

// TestWrongCertificatesAreRefused calls every method with every kind of wrong
// certificate over real TLS connections. No call may reach the node.
func TestWrongCertificatesAreRefused(t *testing.T) {
	now := time.Now()
	ours, other := servertest.Authority(t, "ours"), servertest.Authority(t, "other")
	sameName := servertest.Authority(t, "ours")
	admin := pki.Request{Organizations: []string{"node:admin"}, Client: true}
	tests := []struct {
		name    string
		client  *tls.Certificate
		code    codes.Code
		reason  server.Reason
		message string
	}{
		{"none", nil, codes.Unauthenticated, server.ReasonNoCertificate, "no client certificate"},
		{"other authority", certificate(t, other, now, admin), codes.Unauthenticated, server.ReasonUnknownAuthority, `signed by "other", which is not this node's authority`},
		{"other authority of the same name", certificate(t, sameName, now, admin), codes.Unauthenticated, server.ReasonUnknownAuthority, "not this node's authority"},
		{"self-signed", selfSigned(t, admin), codes.Unauthenticated, server.ReasonUnknownAuthority, "not this node's authority"},
		{"expired", certificate(t, ours, now.Add(-48*time.Hour), admin), codes.Unauthenticated, server.ReasonExpired, "expired at"},
		{"not yet valid", certificate(t, ours, now.Add(48*time.Hour), admin), codes.Unauthenticated, server.ReasonNotYetValid, "not valid before"},
		{"a server's", certificate(t, ours, now, pki.Request{Organizations: []string{"node:admin"}, Server: true}), codes.Unauthenticated, server.ReasonWrongUsage, "not made for clients"},
		{"no role", withRoles(t, ours), codes.PermissionDenied, server.ReasonNoRole, "carries no role: its organisation must be one of node:admin, node:operator, node:reader, etcd:backup"},
		{"unknown role", withRoles(t, ours, "node:root"), codes.PermissionDenied, server.ReasonUnknownRole, `no known role but "node:root"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			node := &servertest.Node{}
			api := servertest.Start(t, node, ours, nil)
			conn := dial(t, api, ours.Pool(), test.client)
			for _, method := range slices.Sorted(maps.Keys(registered())) {
				err := call(t, conn, method)
				if status.Code(err) != test.code || reason(err) != string(test.reason) || !strings.Contains(status.Convert(err).Message(), test.message) {
					t.Errorf("%s: got %v with reason %q, want %v, reason %q and a message with %q", method, err, reason(err), test.code, test.reason, test.message)
				}
			}
			if calls := node.Calls(); len(calls) > 0 {
				t.Errorf("calls reached the node: %v", calls)
			}
		})
	}
}

func selfSigned(t *testing.T, r pki.Request) *tls.Certificate {
	t.Helper()
	r.CommonName, r.Lifetime = "mallory", time.Hour
	pair, err := pki.SelfSigned(r, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// TestRolesAllowWhatTheTableSays calls every method with every role.
func TestRolesAllowWhatTheTableSays(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	for _, role := range []server.ClientRole{server.RoleAdmin, server.RoleOperator, server.RoleReader, server.RoleBackup} {
		t.Run(string(role), func(t *testing.T) {
			api := servertest.Start(t, &servertest.Node{Lines: map[string][]string{"": nil}}, authority, nil)
			// A second organisation that is no role neither helps nor harms.
			conn := dial(t, api, authority.Pool(), withRoles(t, authority, "Example Ltd", string(role)))
			rules := server.Rules()
			for method := range registered() {
				roles, err := rules[method], call(t, conn, method)
				if !slices.Contains(roles, role) {
					message := status.Convert(err).Message()
					if status.Code(err) != codes.PermissionDenied || reason(err) != string(server.ReasonWrongRole) ||
						!strings.Contains(message, method) || !strings.Contains(message, string(roles[0])) || !strings.Contains(message, string(role)) {
						t.Errorf("%s: got %v, want PermissionDenied that names the method, the roles that may and the one there is", method, err)
					}
				} else if c := status.Code(err); c != codes.OK && c != codes.InvalidArgument && c != codes.NotFound && (c != codes.FailedPrecondition || reason(err) != "") {
					// An empty request is not valid for some, and some have nothing to do, but it came that far.
					t.Errorf("%s: got %v, want it allowed", method, err)
				}
			}
		})
	}
}

func TestUnknownMethod(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	for _, method := range []string{"/node.machine.v1.MachineService/Format", "/node.disk.v1.DiskService/Format"} {
		if err := call(t, dial(t, api, authority.Pool(), nil), method); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s without a certificate: got %v, want Unauthenticated", method, err)
		}
		err := call(t, dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin")), method)
		if status.Code(err) != codes.Unimplemented || !strings.Contains(err.Error(), method) {
			t.Errorf("%s as admin: got %v, want Unimplemented that names it", method, err)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	client := withRoles(t, authority, "node:admin")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := tls.Dial("tcp", api.Address, &tls.Config{
			MinVersion: version, MaxVersion: version, RootCAs: authority.Pool(), Certificates: []tls.Certificate{*client}, NextProtos: []string{"h2"},
		})
		if err == nil {
			conn.Close()
		}
		if got, want := err == nil, version == tls.VersionTLS13; got != want {
			t.Errorf("%s: connected is %t, want %t (%v)", tls.VersionName(version), got, want, err)
		}
	}
}

// TestStolenCertificate shows somebody's certificate without its key.
func TestStolenCertificate(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	node := &servertest.Node{}
	api := servertest.Start(t, node, authority, nil)
	stolen := *withRoles(t, authority, "node:admin")
	stolen.PrivateKey = withRoles(t, authority, "node:admin").PrivateKey
	if err := call(t, dial(t, api, authority.Pool(), &stolen), machinev1.MachineService_GetVersion_FullMethodName); err == nil {
		t.Error("a certificate with another key was accepted")
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %v", calls)
	}
}

// TestAuthorityChanges: what clients of the authority before have under way ends when another takes its place, and so do their connections. A new
// certificate of the node by the same authority ends nothing.
func TestAuthorityChanges(t *testing.T) {
	ours, other := servertest.Authority(t, "ours"), servertest.Authority(t, "other")
	log := openAudit(t)
	api := servertest.Start(t, &servertest.Node{}, ours, log)
	conn := dial(t, api, ours.Pool(), withRoles(t, ours, "node:reader"))
	stream, err := machinev1.NewMachineServiceClient(conn).WatchHealth(t.Context(), &machinev1.WatchHealthRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: ours.Pool(), Certificates: []tls.Certificate{*withRoles(t, ours, "node:reader")},
	}}}
	t.Cleanup(web.CloseIdleConnections)
	response, err := web.Get("https://" + api.Address + server.MetricsPath)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil { // it keeps the connection then
		t.Fatal(err)
	}
	response.Body.Close()
	api.SetAuthority(t, ours)
	time.Sleep(1500 * time.Millisecond) // as long as it takes to close connections, and more
	if got, _ := api.Server.Size(); got != 2 {
		t.Fatalf("with a new certificate of the same authority: %d connections, want 2", got)
	}
	api.SetAuthority(t, other)
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || reason(err) != string(server.ReasonAuthorityChanged) {
		t.Errorf("a stream of a client of the old authority: got %v, want that it has changed", err)
	}
	if err := call(t, conn, machinev1.MachineService_GetVersion_FullMethodName); reason(err) != string(server.ReasonUnknownAuthority) {
		t.Errorf("a call on the connection of before: got %v", err)
	}
	awaitEnd(t, conn)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got, _ := api.Server.Size(); got == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a connection of the old authority's clients stays open")
		}
	}
	if err := call(t, dial(t, api, other.Pool(), withRoles(t, other, "node:reader")), machinev1.MachineService_GetVersion_FullMethodName); err != nil {
		t.Errorf("a client of the new authority: %v", err)
	}
	api.Stop(t)
	if !slices.ContainsFunc(recorded(t, log), func(e audit.Entry) bool {
		return e.Kind == audit.KindCall && strings.HasSuffix(e.Method, "WatchHealth") && e.Code == codes.Unavailable.String()
	}) {
		t.Error("the end of the stream is not in the audit log")
	}
}

func TestCertificateExpiresDuringTheConnection(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, nil)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:reader"))
	method := machinev1.MachineService_GetVersion_FullMethodName
	if err := call(t, conn, method); err != nil {
		t.Fatal(err)
	}
	api.Advance(2 * time.Hour)
	if err := call(t, conn, method); reason(err) != string(server.ReasonExpired) {
		t.Errorf("after its certificate's end: got %v, want it refused as expired", err)
	}
}
