package server_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
	"github.com/cyvive/cyvive/internal/machined/server"
	"github.com/cyvive/cyvive/internal/machined/server/servertest"
)

func extended() *servertest.Node {
	return &servertest.Node{Extensions: servertest.Extensions{
		SBOM: string(bytes.Repeat([]byte("sbom "), 20000)),
		List: []server.Extension{{
			ExtensionName: server.ExtensionName{Name: "nlmon", Version: "1.0.0", Kernel: "6.12"}, Modules: []string{"nlmon"}, RootHash: "ab", SizeBytes: 7,
			State: server.ExtensionFailed, Reason: "the kernel refuses it",
		}},
		Next: server.Extension{
			ExtensionName: server.ExtensionName{Name: "agent", Version: "2.0.0"}, Service: "ext-agent", OSFrom: "0.1.0", OSBefore: "1.0.0", RootHash: "cd",
			State: server.ExtensionStored,
		},
	}}
}

func pushExtension(t *testing.T, client extensionv1.ExtensionServiceClient, pieces ...string) (*extensionv1.PushResponse, error) {
	t.Helper()
	stream, err := client.Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if err := stream.Send(&extensionv1.PushRequest{Data: []byte(p)}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	return stream.CloseAndRecv()
}

// TestExtensions pushes an extension, lists and removes it, and reads what it is made of.
func TestExtensions(t *testing.T) {
	node := extended()
	client := extensionv1.NewExtensionServiceClient(admin(t, node))
	agent := &extensionv1.Extension{
		Name: "agent", Version: "2.0.0", Service: "ext-agent", OsFrom: "0.1.0", OsBefore: "1.0.0", RootHash: "cd", State: extensionv1.State_STATE_STORED,
	}
	if _, err := pushExtension(t, client, "bad", "bytes"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("what is none: %v", err)
	}
	if _, err := pushExtension(t, client); status.Code(err) != codes.InvalidArgument {
		t.Errorf("nothing: %v", err)
	}
	pushed, err := pushExtension(t, client, "go", "", "od")
	check(t, &extensionv1.PushResponse{Extension: agent}, pushed, err)
	if calls := node.Calls(); !slices.Contains(calls, "push extension of 4 bytes") {
		t.Errorf("calls: %q", calls)
	}
	list, err := client.List(t.Context(), &extensionv1.ListRequest{})
	check(t, &extensionv1.ListResponse{Extensions: []*extensionv1.Extension{
		{
			Name: "nlmon", Version: "1.0.0", KernelRelease: "6.12", Modules: []string{"nlmon"}, RootHash: "ab", SizeBytes: 7,
			State: extensionv1.State_STATE_FAILED, Reason: "the kernel refuses it",
		},
		agent,
	}}, list, err)
	for name, c := range map[string]struct {
		req  *extensionv1.RemoveRequest
		want codes.Code
	}{
		"no name":       {&extensionv1.RemoveRequest{Version: "1.0.0"}, codes.InvalidArgument},
		"no version":    {&extensionv1.RemoveRequest{Name: "nlmon"}, codes.InvalidArgument},
		"not there":     {&extensionv1.RemoveRequest{Name: "nlmon", Version: "1.0.1"}, codes.NotFound},
		"configured":    {&extensionv1.RemoveRequest{Name: "nlmon", Version: "1.0.0"}, codes.FailedPrecondition},
		"other kernels": {&extensionv1.RemoveRequest{Name: "nlmon", Version: "1.0.0", KernelRelease: "6.13"}, codes.NotFound},
	} {
		if _, err := client.Remove(t.Context(), c.req); status.Code(err) != c.want {
			t.Errorf("remove, %s: got %v, want %v", name, err, c.want)
		}
	}
	removed, err := client.Remove(t.Context(), &extensionv1.RemoveRequest{Name: "agent", Version: "2.0.0"})
	check(t, &extensionv1.RemoveResponse{RootHash: "cd"}, removed, err)

	sbom, err := client.GetSBOM(t.Context(), &extensionv1.GetSBOMRequest{Name: "nlmon"})
	if err != nil {
		t.Fatal(err)
	}
	if got := all(t, sbom); got != node.Extensions.SBOM {
		t.Errorf("bill of materials of %d bytes, want %d", len(got), len(node.Extensions.SBOM))
	}
	for name, want := range map[string]codes.Code{"": codes.InvalidArgument, "agent": codes.NotFound} {
		none, err := client.GetSBOM(t.Context(), &extensionv1.GetSBOMRequest{Name: name})
		if err == nil {
			_, err = none.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("bill of materials of %q: got %v, want %v", name, err, want)
		}
	}
}

func all(t *testing.T, stream grpc.ServerStreamingClient[extensionv1.GetSBOMResponse]) string {
	t.Helper()
	var out bytes.Buffer
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(m.GetData())
	}
}
