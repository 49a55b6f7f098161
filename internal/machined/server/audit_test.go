package server_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	auditv1 "github.com/cyvive/cyvive/api/proto/audit/v1"
	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/auditlog"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
	"github.com/cyvive/cyvive/internal/pki"
)

func openAudit(t *testing.T) *auditlog.Log {
	t.Helper()
	log, err := auditlog.Open(t.TempDir(), "boot-1", 1<<20, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// recorded reads a log, verified.
func recorded(t *testing.T, log server.Audit) []audit.Entry {
	t.Helper()
	var entries []audit.Entry
	v := &audit.Verifier{}
	err := log.Read(t.Context(), func(line []byte) error {
		e, err := v.Add(line)
		entries = append(entries, e)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

// summary is an entry without what differs from run to run.
func summary(e audit.Entry) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", e.Kind, e.Method[strings.LastIndexByte(e.Method, '/')+1:], e.Code, e.Subject))
}

func summaries(entries []audit.Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, summary(e))
	}
	return out
}

// TestAudit: each call leaves an entry that says what was called, by whom, and
// how it ended, also when it was refused; what acts is noted beforehand.
func TestAudit(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, log)
	reader := dial(t, api, authority.Pool(), withRoles(t, authority, "node:reader"))
	for _, method := range []string{machinev1.MachineService_GetNode_FullMethodName, machinev1.MachineService_Reboot_FullMethodName, machinev1.MachineService_StreamDmesg_FullMethodName} {
		_ = call(t, reader, method) // refused or not: the log tells
	}
	operator := certificate(t, authority, time.Now(), pki.Request{CommonName: "bob", Organizations: []string{"node:operator"}, Client: true})
	_ = call(t, dial(t, api, authority.Pool(), operator), machinev1.MachineService_Reboot_FullMethodName)
	_ = call(t, dial(t, api, authority.Pool(), operator), "/node.disk.v1.DiskService/Format")
	api.Stop(t)
	entries := recorded(t, log)
	want := []string{
		"call GetNode OK alice", "call Reboot PermissionDenied alice", "begin StreamDmesg  alice", "call StreamDmesg OK alice",
		"begin Reboot  bob", "call Reboot OK bob", "call Format Unimplemented bob",
	}
	if diff := cmp.Diff(want, summaries(entries)); diff != "" {
		t.Fatalf("entries (-want +got):\n%s", diff)
	}
	for _, e := range entries {
		if e.Boot != "boot-1" || e.Serial == "" || e.Roles == "" || !strings.HasPrefix(e.Peer, "127.0.0.1:") || time.Since(e.Time).Abs() > time.Minute {
			t.Errorf("entry is not whole: %+v", e)
		}
	}
}

// TestEveryRefusalIsRecorded calls every method with each kind of wrong
// certificate, and makes connections that come to no session.
func TestEveryRefusalIsRecorded(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, log)
	clients := map[string]*tls.Certificate{
		"none": nil, "foreign": withRoles(t, servertest.Authority(t, "other"), "node:admin"), "no role": withRoles(t, authority),
	}
	calls := uint64(0)
	for name, client := range clients {
		conn := dial(t, api, authority.Pool(), client)
		for method := range registered() {
			if err := call(t, conn, method); err == nil {
				t.Errorf("%s: %s was let through", name, method)
			}
			calls++
		}
	}
	plain, err := net.Dial("tcp", api.Address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(plain, "GET / HTTP/1.1\r\n\r\n")
	// The server hangs up once it has recorded it.
	_, _ = plain.Read(make([]byte, 100))
	plain.Close()
	api.Stop(t)
	var refused, handshakes uint64
	for _, e := range recorded(t, log) {
		switch e.Kind {
		case audit.KindCall:
			refused++
		case audit.KindSuppressed:
			refused += e.Count
		case audit.KindHandshake:
			handshakes++
		}
	}
	// The handshake may be among those that are counted only.
	if refused+handshakes < calls+1 {
		t.Errorf("%d refused calls and %d handshakes are in the log, want %d and 1", refused, handshakes, calls)
	}
}

// TestUnverifiedCallersCannotFlood makes more refused calls than may be
// written, and then one that is let through.
func TestUnverifiedCallersCannotFlood(t *testing.T) {
	log, authority := openAudit(t), servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, log)
	nobody := dial(t, api, authority.Pool(), nil)
	const flood = 500
	for range flood {
		_ = call(t, nobody, machinev1.MachineService_GetNode_FullMethodName)
	}
	_ = call(t, dial(t, api, authority.Pool(), withRoles(t, authority, "node:reader")), machinev1.MachineService_GetNode_FullMethodName)
	api.Stop(t)
	var written, counted uint64
	entries := recorded(t, log)
	for _, e := range entries {
		if e.Kind == audit.KindSuppressed {
			counted += e.Count
		} else {
			written++
		}
	}
	if written+counted != flood+1 || written > flood/2 {
		t.Errorf("%d entries written and %d counted, want %d in all, most of them counted", written, counted, flood+1)
	}
	if last := summary(entries[len(entries)-1]); last != "call GetNode OK alice" {
		t.Errorf("the last entry is %q", last)
	}
}

func TestStreamEntries(t *testing.T) {
	log := openAudit(t)
	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	for i, e := range []audit.Entry{
		{Kind: audit.KindCall, Method: "/s/Reboot", Code: "OK", Subject: "alice"},
		{Kind: audit.KindCall, Method: "/s/GetNode", Code: "PermissionDenied", Subject: "bob"},
		{Kind: audit.KindHandshake, Code: "Unauthenticated"},
	} {
		e.Time = at.Add(time.Duration(i) * time.Hour)
		if err := log.Append(e, false); err != nil {
			t.Fatal(err)
		}
	}
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{}, authority, log)
	client := auditv1.NewAuditServiceClient(dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin")))
	for _, test := range []struct {
		request *auditv1.StreamEntriesRequest
		want    []uint64
	}{
		{&auditv1.StreamEntriesRequest{Subject: "bob"}, []uint64{2}},
		{&auditv1.StreamEntriesRequest{Subject: "bo"}, nil},
		{&auditv1.StreamEntriesRequest{Method: "Reboot"}, []uint64{1}},
		{&auditv1.StreamEntriesRequest{Code: "unauthenticated"}, []uint64{3}},
		{&auditv1.StreamEntriesRequest{Since: timestamppb.New(at.Add(time.Hour)), Code: "PermissionDenied"}, []uint64{2}},
		{&auditv1.StreamEntriesRequest{Since: timestamppb.New(at.Add(time.Hour)), Subject: "alice", Method: "/s/"}, nil},
	} {
		stream, err := client.StreamEntries(t.Context(), test.request)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, e := range receiveAll(t, stream) {
			got = append(got, e.GetSequence())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.request, diff)
		}
	}
	// Without a filter all lines come, and they are a chain.
	stream, err := client.StreamEntries(t.Context(), &auditv1.StreamEntriesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	v := &audit.Verifier{}
	for _, e := range receiveAll(t, stream) {
		if _, err := v.Add(e.GetLine()); err != nil {
			t.Error(err)
		}
	}
	if v.Head().Sequence < 3 {
		t.Errorf("head: got %v", v.Head())
	}
}
