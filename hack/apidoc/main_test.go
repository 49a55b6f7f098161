package main

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestRun(t *testing.T) {
	str := descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
	repeated := descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("a.proto"), Package: proto.String("node.a.v1"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("GetRequest"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("names"), JsonName: proto.String("names"), Number: proto.Int32(1), Type: str, Label: repeated}}},
			{Name: proto.String("GetResponse")},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("AService"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Get"), InputType: proto.String(".node.a.v1.GetRequest"), OutputType: proto.String(".node.a.v1.GetResponse"), ServerStreaming: proto.Bool(true)},
			{Name: proto.String("Put"), InputType: proto.String(".node.a.v1.GetRequest"), OutputType: proto.String(".node.a.v1.GetResponse"), ClientStreaming: proto.Bool(true)},
		}}},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			{Path: []int32{12}, Span: []int32{0, 0, 1}, LeadingComments: proto.String(" Package a\n is an example.\n")},
			{Path: []int32{6, 0, 2, 0}, Span: []int32{1, 0, 1}, LeadingComments: proto.String(" Get gets.\n")},
			{Path: []int32{4, 0, 2, 0}, Span: []int32{2, 0, 1}, LeadingComments: proto.String(" This | that.\n")},
		}},
	}}}
	data, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(bytes.NewReader(data), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## node.a.v1\n\nPackage a is an example.\n", "**Get** (GetRequest) → stream of GetResponse\n\nGet gets.\n", "**Put** (stream of GetRequest) → GetResponse\n", `| names | list of string | This \| that. |`, "### GetResponse\n\nIt has no fields.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the reference lacks %q:\n%s", want, &out)
		}
	}
	if err := run(strings.NewReader("nonsense"), &out); err == nil {
		t.Error("no descriptors: got no error")
	}
}
