package server

import (
	"context"

	inventoryv1 "github.com/cyvive/cyvive/api/proto/inventory/v1"
)

// inventoryService is node.inventory.v1 on Inventory.
type inventoryService struct {
	inventoryv1.UnimplementedInventoryServiceServer
	inventory Inventory
}

// GetInventory implements inventoryv1.InventoryServiceServer.
func (s *inventoryService) GetInventory(ctx context.Context, req *inventoryv1.GetInventoryRequest) (*inventoryv1.GetInventoryResponse, error) {
	all, err := s.inventory.Inventory(ctx, !req.GetWithoutDiskHealth())
	return &inventoryv1.GetInventoryResponse{Inventory: all}, err
}
