package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	filev1 "github.com/cyvive/cyvive/api/proto/file/v1"
)

func (a *app) filesCommand() *cobra.Command {
	list := &cobra.Command{
		Use:               "list PATH",
		Aliases:           []string{"ls"},
		Short:             "List a folder of nodes",
		Args:              oneArg("the absolute path of a folder or file"),
		ValidArgsFunction: a.completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			return unary(cmd.Context(), a, listFiles(args[0]),
				columns[*filev1.ListFilesResponse]{[]string{"MODE", "USER", "GROUP", "SIZE", "MODIFIED", "NAME"}, fileRows}, nil)
		},
	}
	c := group("files", "Look at files of nodes; what holds secrets is refused", list, a.readCommand())
	c.Aliases = []string{"file"}
	return c
}

func listFiles(p string) func(context.Context, *connection) (*filev1.ListFilesResponse, error) {
	return func(ctx context.Context, conn *connection) (*filev1.ListFilesResponse, error) {
		return filev1.NewFileServiceClient(conn).ListFiles(ctx, &filev1.ListFilesRequest{Path: p})
	}
}

func fileRows(l *filev1.ListFilesResponse) [][]string {
	var rows [][]string
	for _, f := range l.GetFiles() {
		name := f.GetName()
		if f.GetLinkTarget() != "" {
			name += " -> " + f.GetLinkTarget()
		}
		rows = append(rows, []string{
			fileMode(f).String(), number(f.GetUid(), true), number(f.GetGid(), true), fmt.Sprint(f.GetSizeBytes()), stamp(f.GetModifiedAt()), name,
		})
	}
	if l.GetTruncated() {
		rows = append(rows, []string{"", "", "", "", "", "… and more"})
	}
	return rows
}

// fileMode is the mode with the letter that tells what it is.
func fileMode(f *filev1.File) fs.FileMode {
	mode := fs.FileMode(f.GetMode() & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if f.GetMode()&bit != 0 {
			mode |= flag
		}
	}
	switch f.GetKind() {
	case filev1.FileKind_FILE_KIND_DIRECTORY:
		mode |= fs.ModeDir
	case filev1.FileKind_FILE_KIND_LINK:
		mode |= fs.ModeSymlink
	case filev1.FileKind_FILE_KIND_OTHER:
		mode |= fs.ModeIrregular
	}
	return mode
}

func (a *app) readCommand() *cobra.Command {
	request := &filev1.ReadFileRequest{}
	c := &cobra.Command{
		Use:               "read PATH",
		Aliases:           []string{"cat"},
		Short:             "Write a file of one node to standard output, as it is",
		Args:              oneArg("the absolute path of a file"),
		ValidArgsFunction: a.completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			request.Path = args[0]
			return writeRaw(cmd.Context(), a, func(ctx context.Context, conn *connection) (receiver[*filev1.ReadFileResponse], error) {
				return filev1.NewFileServiceClient(conn).ReadFile(ctx, request)
			})
		},
	}
	c.Flags().Uint64Var(&request.OffsetBytes, "offset", 0, "begin at this byte")
	c.Flags().Uint64Var(&request.LimitBytes, "limit", 0, "write at most so many bytes; 16 MiB by default, which is the most")
	return c
}

// errOneNode is for data that would run into each other.
var errOneNode = errors.New("this goes to standard output as it is, so it can be from one node only: pick it with --nodes")

// piece is a message that carries a part of a file.
type piece interface{ GetData() []byte }

// writeRaw writes the pieces of a file from one node.
func writeRaw[T piece](ctx context.Context, a *app, open func(context.Context, *connection) (receiver[T], error)) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if len(t.nodes) != 1 {
		return usageError{errOneNode}
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (struct{}, error) {
		return struct{}{}, receive(ctx, conn, open, func(m T) error {
			if _, err := a.stdout.Write(m.GetData()); err != nil {
				return fmt.Errorf("write output: %w", err)
			}
			return nil
		})
	})
	return a.report(errorsOf(results))
}

// completePaths offers what is in the folder that is being typed.
func (a *app) completePaths(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	folder, _ := path.Split(typed)
	if folder == "" {
		folder = "/"
	}
	names := a.fromNode(func(ctx context.Context, conn *connection) ([]string, error) {
		l, err := listFiles(path.Clean(folder))(ctx, conn)
		var names []string
		for _, f := range l.GetFiles() {
			name := folder + f.GetName()
			if f.GetKind() == filev1.FileKind_FILE_KIND_DIRECTORY {
				name += "/"
			}
			if strings.HasPrefix(name, typed) {
				names = append(names, name)
			}
		}
		return names, err
	})
	return names, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
