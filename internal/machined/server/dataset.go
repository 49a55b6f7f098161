package server

import (
	"context"
	"slices"
	"strings"

	datasetv1 "github.com/cyvive/cyvive/api/proto/dataset/v1"
)

// datasetService is node.dataset.v1 on Datasets.
type datasetService struct {
	datasetv1.UnimplementedDatasetServiceServer
	datasets Datasets
}

// List implements datasetv1.DatasetServiceServer.
func (s *datasetService) List(ctx context.Context, req *datasetv1.ListRequest) (*datasetv1.ListResponse, error) {
	list, err := s.datasets.List(ctx, req.GetRoot())
	if err != nil {
		return nil, err
	}
	conditions, err := s.datasets.Conditions(ctx, req.GetRoot())
	if err != nil {
		return nil, err
	}
	return &datasetv1.ListResponse{Datasets: list, Conditions: conditions}, nil
}

// Get implements datasetv1.DatasetServiceServer.
func (s *datasetService) Get(ctx context.Context, req *datasetv1.GetRequest) (*datasetv1.GetResponse, error) {
	if err := datasetNamed(req.GetName()); err != nil {
		return nil, err
	}
	dataset, err := s.datasets.Get(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	conditions, err := s.datasets.Conditions(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	conditions = slices.DeleteFunc(conditions, func(c *datasetv1.Condition) bool { return c.GetDataset() != req.GetName() })
	return &datasetv1.GetResponse{Dataset: dataset, Conditions: conditions}, nil
}

// Promote implements datasetv1.DatasetServiceServer.
func (s *datasetService) Promote(ctx context.Context, req *datasetv1.PromoteRequest) (*datasetv1.PromoteResponse, error) {
	if err := datasetNamed(req.GetName()); err != nil {
		return nil, err
	}
	clone, err := s.datasets.Promote(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return &datasetv1.PromoteResponse{Clone: clone}, nil
}

// datasetNamed says what is wrong with the name of a file system or volume.
func datasetNamed(name string) error {
	if name == "" {
		return invalidf("no dataset is named")
	}
	if strings.ContainsAny(name, "@#") {
		return invalidf("%.300q is no file system and no volume", name)
	}
	return nil
}

// PlanDestroy implements datasetv1.DatasetServiceServer.
func (s *datasetService) PlanDestroy(ctx context.Context, req *datasetv1.PlanDestroyRequest) (*datasetv1.PlanDestroyResponse, error) {
	if req.GetName() == "" {
		return nil, invalidf("no dataset is named")
	}
	return s.datasets.PlanDestroy(ctx, req.GetName(), req.GetAll())
}

// Destroy implements datasetv1.DatasetServiceServer.
func (s *datasetService) Destroy(ctx context.Context, req *datasetv1.DestroyRequest) (*datasetv1.DestroyResponse, error) {
	if req.GetName() == "" {
		return nil, invalidf("no dataset is named")
	}
	if req.GetConfirm() != req.GetName() {
		return nil, invalidf("the confirmation %.300q is not the name of the dataset, %.300q", req.GetConfirm(), req.GetName())
	}
	if len(req.GetPlan()) == 0 {
		return nil, invalidf("the request has no plan: PlanDestroy has that of what it shows")
	}
	names, err := s.datasets.Destroy(ctx, req.GetName(), req.GetConfirm(), req.GetAll(), req.GetPlan())
	if err != nil {
		return nil, err
	}
	return &datasetv1.DestroyResponse{Destroyed: names}, nil
}
