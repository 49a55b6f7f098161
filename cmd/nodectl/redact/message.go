package redact

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Message takes secrets out of all texts of a message and counts them.
func Message(m proto.Message) int {
	n := 0
	clean := func(v protoreflect.Value) protoreflect.Value {
		text, found := Text(v.String())
		n += found
		return protoreflect.ValueOfString(text)
	}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			v.Map().Range(func(k protoreflect.MapKey, item protoreflect.Value) bool {
				switch f.MapValue().Kind() {
				case protoreflect.StringKind:
					v.Map().Set(k, clean(item))
				case protoreflect.MessageKind:
					n += Message(item.Message().Interface())
				}
				return true
			})
		case f.IsList():
			for i := range v.List().Len() {
				switch f.Kind() {
				case protoreflect.StringKind:
					v.List().Set(i, clean(v.List().Get(i)))
				case protoreflect.MessageKind:
					n += Message(v.List().Get(i).Message().Interface())
				}
			}
		case f.Kind() == protoreflect.StringKind:
			m.ProtoReflect().Set(f, clean(v))
		case f.Kind() == protoreflect.MessageKind:
			n += Message(v.Message().Interface())
		}
		return true
	})
	return n
}
