package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	upgradev1 "github.com/cyvive/cyvive/api/proto/upgrade/v1"
	"github.com/cyvive/cyvive/internal/audit"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

var (
	oldSystem = server.System{Version: "1.0.0", Slot: "a", RootHash: "0a"}
	newSystem = server.System{Version: "1.1.0", Slot: "b", RootHash: "0b"}
)

func upgradable() *servertest.Node {
	return &servertest.Node{
		NodeValue: server.Node{BootID: "b1"},
		Upgrades: servertest.Upgrades{
			Release: newSystem,
			Status:  server.UpgradeStatus{Stage: server.UpgradeIdle, Running: oldSystem, Deadline: 10 * time.Minute},
		},
	}
}

func header() *upgradev1.PushRequest {
	return &upgradev1.PushRequest{Part: &upgradev1.PushRequest_Header{Header: &upgradev1.PushHeader{AllowDowngrade: true}}}
}

func piece(data []byte) *upgradev1.PushRequest {
	return &upgradev1.PushRequest{Part: &upgradev1.PushRequest_Data{Data: data}}
}

// push sends messages and returns the answer.
func push(t *testing.T, client upgradev1.UpgradeServiceClient, messages ...*upgradev1.PushRequest) (*upgradev1.PushResponse, error) {
	t.Helper()
	stream, err := client.Push(t.Context())
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if err := stream.Send(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	return stream.CloseAndRecv()
}

func TestUpgrade(t *testing.T) {
	node := upgradable()
	client := upgradev1.NewUpgradeServiceClient(admin(t, node))
	target := &upgradev1.System{Version: "1.1.0", Slot: machinev1.Slot_SLOT_B, RootHash: "0b"}
	data := bytes.Repeat([]byte("0123456789abcdef"), 2<<10)
	pushed, err := push(t, client, header(), piece(data), piece(nil), piece(data[:100]))
	check(t, &upgradev1.PushResponse{Target: target}, pushed, err)

	install, err := client.Install(t.Context(), &upgradev1.InstallRequest{Staged: true})
	if err != nil {
		t.Fatal(err)
	}
	progress := receiveAll(t, install)
	last := progress[len(progress)-1]
	check(t, &upgradev1.InstallResponse{Target: target, BootId: "b1"}, last, nil)
	if before := progress[len(progress)-2]; len(progress) < 3 || before.GetWrittenBytes() != before.GetTotalBytes() || before.GetTotalBytes() == 0 {
		t.Errorf("progress %v", progress)
	}

	at := time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC)
	node.Change(func(n *servertest.Node) {
		n.Upgrades.Status.Gates = []server.UpgradeGate{{Name: "network", Reason: "no carrier", Since: at, Waived: true}}
		n.Upgrades.Status.Last = &server.UpgradeOutcome{Target: newSystem, From: oldSystem, Reason: "kernel panic", At: at}
	})
	want := &upgradev1.StatusResponse{
		Stage: upgradev1.Stage_STAGE_ARMED, Running: &upgradev1.System{Version: "1.0.0", Slot: machinev1.Slot_SLOT_A, RootHash: "0a"},
		Other: target, Target: target, Deadline: durationpb.New(10 * time.Minute), BootId: "b1",
		Gates: []*upgradev1.Gate{{Name: "network", Reason: "no carrier", Since: timestamppb.New(at), Waived: true}},
		Last: &upgradev1.Outcome{
			Target: target, From: &upgradev1.System{Version: "1.0.0", Slot: machinev1.Slot_SLOT_A, RootHash: "0a"}, Reason: "kernel panic", At: timestamppb.New(at),
		},
	}
	got, err := client.Status(t.Context(), &upgradev1.StatusRequest{})
	check(t, want, got, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	watch, err := client.Watch(ctx, &upgradev1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := watch.Recv()
	check(t, &upgradev1.WatchResponse{Status: want}, first, err)
	if _, err := client.Cancel(t.Context(), &upgradev1.CancelRequest{}); err != nil {
		t.Error(err)
	}
	second, err := watch.Recv()
	if err != nil || second.GetStatus().GetStage() != upgradev1.Stage_STAGE_IDLE {
		t.Errorf("watch after the cancel: %v, %v", second, err)
	}
	if _, err := client.Cancel(t.Context(), &upgradev1.CancelRequest{}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("cancel twice: %v", err)
	}
	back, err := client.Rollback(t.Context(), &upgradev1.RollbackRequest{})
	check(t, &upgradev1.RollbackResponse{Target: target, BootId: "b1"}, back, err)
	calls := strings.Join(node.Calls(), "\n")
	for _, want := range []string{fmt.Sprintf("push %d bytes, downgrade true", len(data)+100), "install, staged true", "rollback, staged false", "reboot"} {
		if !strings.Contains(calls, want) {
			t.Errorf("no %q reached the node:\n%s", want, calls)
		}
	}
}

// TestPull: the request reaches the node, and its progress the client.
func TestPull(t *testing.T) {
	node := upgradable()
	client := upgradev1.NewUpgradeServiceClient(admin(t, node))
	stream, err := client.Pull(t.Context(), &upgradev1.PullRequest{Source: "https://host/slow", Sha256: "aa", AllowDowngrade: true})
	if err != nil {
		t.Fatal(err)
	}
	got := receiveAll(t, stream)
	target := &upgradev1.System{Version: "1.1.0", Slot: machinev1.Slot_SLOT_B, RootHash: "0b"}
	check(t, &upgradev1.PullResponse{Waiting: "no connection in 10s; try 2 of 5 in 1s"}, got[0], nil)
	check(t, &upgradev1.PullResponse{ReceivedBytes: 100 << 20, TotalBytes: 100 << 20}, got[len(got)-2], nil)
	check(t, &upgradev1.PullResponse{Target: target}, got[len(got)-1], nil)
	if calls := strings.Join(node.Calls(), "\n"); !strings.Contains(calls, `pull https://host/slow, sha256 "aa", downgrade true`) {
		t.Errorf("calls that reached the node: %s", calls)
	}
	for source, want := range map[string]codes.Code{"": codes.InvalidArgument, "https://host/missing": codes.NotFound, "https://host/bad": codes.InvalidArgument} {
		stream, err := client.Pull(t.Context(), &upgradev1.PullRequest{Source: source})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%q: got %v, want %v", source, err, want)
		}
	}
}

// TestPushIsRefused: what is no stream of a header and pieces does not reach the
// node, or comes to its end with the right status.
func TestPushIsRefused(t *testing.T) {
	node := upgradable()
	client := upgradev1.NewUpgradeServiceClient(admin(t, node))
	for name, test := range map[string]struct {
		messages []*upgradev1.PushRequest
		want     codes.Code
	}{
		"nothing":        {nil, codes.InvalidArgument},
		"no header":      {[]*upgradev1.PushRequest{piece([]byte("x"))}, codes.InvalidArgument},
		"empty":          {[]*upgradev1.PushRequest{{}}, codes.InvalidArgument},
		"a header twice": {[]*upgradev1.PushRequest{header(), piece([]byte("x")), header()}, codes.InvalidArgument},
		"oversized":      {[]*upgradev1.PushRequest{header(), piece(make([]byte, 65<<10))}, codes.ResourceExhausted},
	} {
		if _, err := push(t, client, test.messages...); status.Code(err) != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %v", calls)
	}
	if _, err := push(t, client, header(), piece([]byte("bad"))); status.Code(err) != codes.InvalidArgument {
		t.Errorf("refused by the node: got %v", err)
	}
}

// TestPushThatStops: a client that stops in the middle of a push is cut off after
// the time for one message, and one that is slow, but never so slow, is not,
// however long all of it takes.
func TestPushThatStops(t *testing.T) {
	log, authority, node := openAudit(t), servertest.Authority(t, "ours"), upgradable()
	limits := server.Limits{RequestTimeout: time.Second, PieceTimeout: 2 * time.Second}
	api := servertest.StartWithin(t, limits, servertest.Listen(t), node, authority, log)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:admin"))
	client := upgradev1.NewUpgradeServiceClient(conn)
	slow, err := client.Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := slow.Send(header()); err != nil {
		t.Fatal(err)
	}
	for range 15 { // 1.5 s, more than the time for a request
		time.Sleep(100 * time.Millisecond)
		if err := slow.Send(piece([]byte("x"))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := slow.CloseAndRecv(); err != nil {
		t.Errorf("a slow push: %v", err)
	}
	cut, release := context.WithTimeout(t.Context(), 20*time.Second) // or a limit that does not work would hang the test
	defer release()
	stopped, err := client.Push(cut)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stopped.Send(header()), stopped.Send(piece([]byte("x")))); err != nil {
		t.Fatal(err)
	}
	err = stopped.RecvMsg(&upgradev1.PushResponse{})
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Canceled || cut.Err() != nil {
		t.Errorf("a push that stopped: got %v, want it cut off after %v", err, limits.PieceTimeout)
	}
	if err := call(t, conn, machinev1.MachineService_GetNode_FullMethodName); err != nil {
		t.Errorf("another call of the same connection: %v", err)
	}
	// One whose client hangs up.
	ctx, cancel := context.WithCancel(t.Context())
	gone, err := client.Push(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Send(header()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		n := 0
		for _, e := range recorded(t, log) {
			if e.Kind == audit.KindBegin {
				n++
			}
		}
		if n < 3 {
			return fmt.Errorf("%d pushes have begun, want 3", n)
		}
		return nil
	})
	cancel()
	eventually(t, func() error {
		if got := summaries(recorded(t, log)); len(got) < 7 {
			return fmt.Errorf("the log has %q", got)
		}
		return nil
	})
	api.Stop(t)
	var texts []string
	for _, e := range recorded(t, log) {
		if e.Kind == audit.KindCall && strings.HasSuffix(e.Method, "/Push") {
			texts = append(texts, e.Code+": "+e.Error)
		}
	}
	want := []string{"OK: ", "DeadlineExceeded: push: rpc error: code = DeadlineExceeded desc = the next message did not arrive within 2s", "Canceled: push: rpc error: code = Canceled desc = context canceled"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("ends in the log (-want +got):\n%s", diff)
	}
	for _, c := range node.Calls() {
		if strings.HasPrefix(c, "push") && c != "push 15 bytes, downgrade true" {
			t.Errorf("a push that did not end was taken: %s", c)
		}
	}
}
