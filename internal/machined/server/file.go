package server

import (
	"context"

	"google.golang.org/grpc"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
)

// maxReadBytes is how much of a file one call gives.
const maxReadBytes = 16 << 20

// fileService is node.file.v1 on Files.
type fileService struct {
	filev1.UnimplementedFileServiceServer
	files Files
}

// ListFiles implements filev1.FileServiceServer.
func (s *fileService) ListFiles(ctx context.Context, req *filev1.ListFilesRequest) (*filev1.ListFilesResponse, error) {
	list, truncated, err := s.files.List(ctx, req.GetPath())
	return &filev1.ListFilesResponse{Files: list, Truncated: truncated}, err
}

// ReadFile implements filev1.FileServiceServer.
func (s *fileService) ReadFile(req *filev1.ReadFileRequest, stream grpc.ServerStreamingServer[filev1.ReadFileResponse]) error {
	limit := req.GetLimitBytes()
	if limit == 0 {
		limit = maxReadBytes
	}
	return s.files.Read(stream.Context(), req.GetPath(), req.GetOffsetBytes(), min(limit, maxReadBytes), func(data []byte) error {
		return stream.Send(&filev1.ReadFileResponse{Data: data})
	})
}
