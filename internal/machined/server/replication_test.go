package server_test

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	replicationv1 "github.com/cyvive/cyvive/api/proto/replication/v1"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

// TestDecisionsThatLose: an operator has a job run, and decides so that nothing is lost. What destroys something is for admins, as a rollback is.
func TestDecisionsThatLose(t *testing.T) {
	authority := servertest.Authority(t, "ours")
	node := &servertest.Node{}
	node.Replication.Jobs = []*replicationv1.Job{{Name: "in", Conflicts: []*replicationv1.Conflict{{Options: []*replicationv1.Decision{
		{Kind: "RollBack", Destroys: []string{"@3"}, Text: "roll one back"}, {Kind: "RollBack", Changes: true, Text: "roll another back"},
		{Kind: "SetAside", Text: "rename it"},
	}}}}}
	api := servertest.Start(t, node, authority, nil)
	for _, c := range []struct {
		role, text string
		want       codes.Code
	}{
		{"node:operator", "rename it", codes.OK}, {"node:operator", "roll one back", codes.PermissionDenied},
		{"node:operator", "roll another back", codes.PermissionDenied}, {"node:admin", "roll one back", codes.OK},
	} {
		client := replicationv1.NewReplicationServiceClient(dial(t, api, authority.Pool(), withRoles(t, authority, c.role)))
		_, err := client.Run(t.Context(), &replicationv1.RunRequest{Job: "in", Decisions: []*replicationv1.Choice{{Text: c.text, Confirm: "b/in"}}})
		if status.Code(err) != c.want {
			t.Errorf("%s, %s: %v, want %s", c.role, c.text, err, c.want)
		}
	}
}
