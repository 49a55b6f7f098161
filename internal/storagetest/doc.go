// Package storagetest holds a fake disk for the storage domain that keeps its state in memory and can lose its power after any operation.
package storagetest
