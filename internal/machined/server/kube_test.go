package server_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	kubev1 "github.com/cyvive/cyvive/api/proto/kube/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func TestDrain(t *testing.T) {
	node := &servertest.Node{
		DrainSteps:   []server.DrainProgress{{Remaining: 3, Waiting: "waiting for default/web to end"}},
		DrainOutcome: server.DrainOutcome{Result: server.DrainPartial, Gone: 2, Remaining: 1, Reason: "the deadline is over"},
	}
	client := kubev1.NewKubeServiceClient(admin(t, node))
	stream, err := client.Drain(t.Context(), &kubev1.DrainRequest{Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	got := receiveAll(t, stream)
	if len(got) != 2 {
		t.Fatalf("got %v", got)
	}
	check(t, &kubev1.DrainResponse{Remaining: 3, Waiting: "waiting for default/web to end"}, got[0], nil)
	check(t, &kubev1.DrainResponse{Gone: 2, Remaining: 1, Result: kubev1.DrainResult_DRAIN_RESULT_PARTIAL, Reason: "the deadline is over"}, got[1], nil)
	changed, err := client.Uncordon(t.Context(), &kubev1.UncordonRequest{})
	check(t, &kubev1.UncordonResponse{Changed: true}, changed, err)
	if calls := strings.Join(node.Calls(), "\n"); !strings.Contains(calls, "drain within 5m0s, alone true") {
		t.Errorf("calls that reached the node: %s", calls)
	}
	for _, deadline := range []time.Duration{-time.Second, 0, time.Millisecond, time.Hour + time.Second} {
		stream, err := client.Drain(t.Context(), &kubev1.DrainRequest{Deadline: durationpb.New(deadline)})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", deadline, err)
		}
	}
}
