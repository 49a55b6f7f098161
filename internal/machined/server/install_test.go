package server_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	installv1 "github.com/cyvive/cyvive/api/proto/install/v1"
	resetv1 "github.com/cyvive/cyvive/api/proto/reset/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func withDisks() *servertest.Node {
	return &servertest.Node{
		NodeValue: server.Node{Hostname: "node1", BootID: "b1"},
		Targets:   []*installv1.Disk{{Name: "vdb", Serial: "S-1", SizeBytes: 8 << 30}},
		DiskData:  map[string]string{"S-1": "XFS (file system)"},
	}
}

func TestInstallService(t *testing.T) {
	node := withDisks()
	client := installv1.NewInstallServiceClient(admin(t, node))
	target := &installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}, Wipe: "S-1", Configuration: []byte("kind: Machine")}
	got, err := client.Plan(t.Context(), &installv1.PlanRequest{Target: target})
	if err != nil || got.GetPlan().GetDisk().GetName() != "vdb" || len(got.GetPlan().GetDestroys()) != 1 {
		t.Errorf("plan %v, %v", got, err)
	}
	stream, err := client.Install(t.Context(), &installv1.InstallRequest{Target: target})
	if err != nil {
		t.Fatal(err)
	}
	all := receiveAll(t, stream)
	if all[0].GetPlan() == nil || all[len(all)-1].GetProgress().GetStep() != "complete" {
		t.Errorf("the stream begins with %v and ends with %v", all[0], all[len(all)-1])
	}
	if calls := strings.Join(node.Calls(), "\n"); !strings.Contains(calls, `install, disk "S-1", wipe "S-1", pushed false, by `) {
		t.Errorf("calls that reached the node:\n%s", calls)
	}
	for name, test := range map[string]struct {
		target *installv1.Target
		want   codes.Code
	}{
		"no target":    {nil, codes.InvalidArgument},
		"no disk":      {&installv1.Target{}, codes.InvalidArgument},
		"data":         {&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-1"}}, codes.FailedPrecondition},
		"another disk": {&installv1.Target{Disk: &installv1.DiskSelector{Serial: "S-9"}}, codes.FailedPrecondition},
	} {
		if _, err := client.Plan(t.Context(), &installv1.PlanRequest{Target: test.target}); status.Code(err) != test.want {
			t.Errorf("plan, %s: %v", name, err)
		}
		stream, err := client.Install(t.Context(), &installv1.InstallRequest{Target: test.target})
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != test.want {
			t.Errorf("install, %s: %v", name, err)
		}
	}
}

// reset calls Reset and returns all that comes.
func reset(t *testing.T, client resetv1.ResetServiceClient, req *resetv1.ResetRequest) (all []*resetv1.ResetResponse, err error) {
	t.Helper()
	stream, err := client.Reset(t.Context(), req)
	for err == nil {
		var m *resetv1.ResetResponse
		if m, err = stream.Recv(); err == nil {
			all = append(all, m)
		}
	}
	if err.Error() == "EOF" {
		err = nil
	}
	return all, err
}

func TestResetService(t *testing.T) {
	node := withDisks()
	client := resetv1.NewResetServiceClient(admin(t, node))
	both := []resetv1.Volume{resetv1.Volume_VOLUME_STATE, resetv1.Volume_VOLUME_DATA}
	for name, req := range map[string]*resetv1.ResetRequest{
		"no volume":         {Confirm: "node1"},
		"an unknown volume": {Confirm: "node1", Volumes: []resetv1.Volume{7}},
		"volume 0":          {Confirm: "node1", Volumes: []resetv1.Volume{0}},
		"an unknown mode":   {Confirm: "node1", Volumes: both, Mode: 9},
		"another name":      {Confirm: "node2", Volumes: both},
		"no name":           {Volumes: both},
	} {
		if _, err := reset(t, client, req); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	node.Change(func(n *servertest.Node) { n.ResetFault = errors.New("no leader") })
	if _, err := reset(t, client, &resetv1.ResetRequest{Volumes: both, Confirm: "node1"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a node that cannot leave: %v", err)
	}
	if strings.Contains(strings.Join(node.Calls(), " "), "reboot") {
		t.Error("a reset that was refused rebooted the node")
	}
	all, err := reset(t, client, &resetv1.ResetRequest{Volumes: both[1:], Mode: resetv1.Mode_MODE_FORCED, Confirm: "node1"})
	if err != nil || len(all) == 0 || all[len(all)-1].GetBootId() != "b1" || all[0].GetStage() != resetv1.Stage_STAGE_ARMED {
		t.Errorf("forced: %v, %v", all, err)
	}
	calls := node.Calls()
	if calls[len(calls)-1] != "reboot" || !strings.Contains(strings.Join(calls, "\n"), "reset {State:false Data:true Forced:true PowerOff:false Confirm:node1 By:") {
		t.Errorf("calls %q", calls)
	}
}
