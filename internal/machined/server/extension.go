package server

import (
	"context"

	"google.golang.org/grpc"

	extensionv1 "github.com/cyvive/cyvive/api/proto/extension/v1"
)

// extensionService is node.extension.v1 on Extensions.
type extensionService struct {
	extensionv1.UnimplementedExtensionServiceServer
	extensions Extensions
}

// Push implements extensionv1.ExtensionServiceServer.
func (s *extensionService) Push(stream grpc.ClientStreamingServer[extensionv1.PushRequest, extensionv1.PushResponse]) error {
	e, err := s.extensions.Push(stream.Context(), &pieces{next: func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetData(), err
	}})
	if err != nil {
		return err
	}
	return stream.SendAndClose(&extensionv1.PushResponse{Extension: extensionToProto(e)})
}

// List implements extensionv1.ExtensionServiceServer.
func (s *extensionService) List(ctx context.Context, _ *extensionv1.ListRequest) (*extensionv1.ListResponse, error) {
	list, err := s.extensions.Extensions(ctx)
	if err != nil {
		return nil, err
	}
	resp := &extensionv1.ListResponse{}
	for _, e := range list {
		resp.Extensions = append(resp.Extensions, extensionToProto(e))
	}
	return resp, nil
}

// Remove implements extensionv1.ExtensionServiceServer.
func (s *extensionService) Remove(ctx context.Context, req *extensionv1.RemoveRequest) (*extensionv1.RemoveResponse, error) {
	if req.GetName() == "" || req.GetVersion() == "" {
		return nil, invalidf("name and version of the extension that is to be removed are needed, got %q and %q", req.GetName(), req.GetVersion())
	}
	hash, err := s.extensions.Remove(ctx, ExtensionName{Name: req.GetName(), Version: req.GetVersion(), Kernel: req.GetKernelRelease()})
	if err != nil {
		return nil, err
	}
	return &extensionv1.RemoveResponse{RootHash: hash}, nil
}

// GetSBOM implements extensionv1.ExtensionServiceServer.
func (s *extensionService) GetSBOM(req *extensionv1.GetSBOMRequest, stream grpc.ServerStreamingServer[extensionv1.GetSBOMResponse]) error {
	if req.GetName() == "" {
		return invalidf("the name of an extension is needed")
	}
	file, err := s.extensions.SBOM(stream.Context(), ExtensionName{Name: req.GetName(), Version: req.GetVersion(), Kernel: req.GetKernelRelease()})
	if err != nil {
		return err
	}
	defer file.Close()
	return sendPieces(file, func(data []byte) error { return stream.Send(&extensionv1.GetSBOMResponse{Data: data}) })
}

func extensionToProto(e Extension) *extensionv1.Extension {
	states := map[ExtensionState]extensionv1.State{
		ExtensionStored: extensionv1.State_STATE_STORED, ExtensionActive: extensionv1.State_STATE_ACTIVE, ExtensionFailed: extensionv1.State_STATE_FAILED,
	}
	return &extensionv1.Extension{
		Name: e.Name, Version: e.Version, KernelRelease: e.Kernel, Modules: e.Modules, Service: e.Service, OsFrom: e.OSFrom, OsBefore: e.OSBefore,
		RootHash: e.RootHash, SizeBytes: uint64(e.SizeBytes), State: states[e.State], Reason: e.Reason,
	}
}
