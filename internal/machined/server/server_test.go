package server_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	machinev1 "github.com/cyvive/cyvive/api/proto/machine/v1"
	servicev1 "github.com/cyvive/cyvive/api/proto/service/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func TestErrorClasses(t *testing.T) {
	tests := []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{fmt.Errorf("log of x: %w", server.ErrNotFound), codes.NotFound},
		{fmt.Errorf("x: %w", server.ErrInvalid), codes.InvalidArgument},
		{fmt.Errorf("x: %w", server.ErrPrecondition), codes.FailedPrecondition},
		{fmt.Errorf("x: %w: %w", server.ErrUnavailable, fs.ErrNotExist), codes.Unavailable},
		{fmt.Errorf("x: %w", context.Canceled), codes.Canceled},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{errors.New("disk on fire"), codes.Internal},
		{status.Error(codes.Aborted, "as it is"), codes.Aborted},
	}
	for _, test := range tests {
		got := server.ToStatus(test.err)
		if status.Code(got) != test.want {
			t.Errorf("%v: got %v, want %v", test.err, status.Code(got), test.want)
		}
		if test.err != nil && !strings.Contains(test.err.Error(), status.Convert(got).Message()) {
			t.Errorf("%v: the message became %q", test.err, status.Convert(got).Message())
		}
		if told := reason(got) == string(server.ReasonNotReady); told != (test.want == codes.Unavailable) {
			t.Errorf("%v: the reason is %q", test.err, reason(got))
		}
	}
}

func TestHandlerErrorReachesTheCaller(t *testing.T) {
	conn := admin(t, &servertest.Node{Err: fmt.Errorf("a reboot is under way: %w", server.ErrPrecondition)})
	_, err := machinev1.NewMachineServiceClient(conn).Reboot(t.Context(), &machinev1.RebootRequest{})
	if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "a reboot is under way") {
		t.Errorf("got %v", err)
	}
}

func TestRequestLimit(t *testing.T) {
	node := &servertest.Node{}
	stream, err := servicev1.NewServiceServiceClient(admin(t, node)).StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: strings.Repeat("x", 65<<10)})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a request of 65 KiB: got %v, want ResourceExhausted", err)
	}
	if calls := node.Calls(); len(calls) > 0 {
		t.Errorf("calls reached the node: %v", calls)
	}
}

func TestStopEndsFollowedStreams(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	api := servertest.Start(t, &servertest.Node{Lines: map[string][]string{"etcd": {"one"}}}, authority, nil)
	conn := dial(t, api, authority.Pool(), withRoles(t, authority, "node:reader"))
	stream, err := servicev1.NewServiceServiceClient(conn).StreamLogs(t.Context(), &servicev1.StreamLogsRequest{Service: "etcd", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	api.Stop(t)
	if _, err := stream.Recv(); err == nil {
		t.Error("the stream goes on after the server has stopped")
	}
}
