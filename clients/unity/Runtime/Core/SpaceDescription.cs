using System;
using System.Collections.Generic;
using System.Text;

namespace RLay
{
    public sealed partial class Space
    {
        private static readonly string[] kindNames =
        {
            "box", "discrete", "multi_binary", "multi_discrete", "text", "dict", "tuple", "sequence", "graph",
            "one_of", "opaque"
        };

        /// <summary>The description that travels in a greeting: docs/spec/spaces.md.</summary>
        internal List<object> Describe()
        {
            var items = new List<object> { kindNames[(int)Kind] };
            switch (Kind)
            {
                case SpaceKind.Box:
                    items.AddRange(new object[] { (long)DType, Sizes(Shape), Low, High, BoundedBelow, BoundedAbove });
                    break;
                case SpaceKind.Discrete:
                    items.AddRange(new object[] { (long)DType, N, Start });
                    break;
                case SpaceKind.MultiBinary:
                    items.AddRange(new object[] { Sizes(Shape), Flat });
                    break;
                case SpaceKind.MultiDiscrete:
                    items.AddRange(new object[] { (long)DType, Sizes(Shape), Nvec, Starts });
                    break;
                case SpaceKind.Text:
                    items.AddRange(new object[] { MinLength, MaxLength, Charset });
                    break;
                case SpaceKind.Dict:
                    items.Add(SortKeys);
                    for (int i = 0; i < Keys.Length; i++)
                    {
                        items.Add(Keys[i]);
                        items.Add(Spaces[i].Describe());
                    }
                    break;
                case SpaceKind.Sequence:
                    items.Add(Spaces[0].Describe());
                    items.Add(Stack);
                    break;
                case SpaceKind.Graph:
                    items.Add(Spaces[0].Describe());
                    items.Add(Spaces.Length > 1 ? Spaces[1].Describe() : null);
                    break;
                case SpaceKind.Opaque:
                    items.AddRange(new object[] { TypeName, Representation });
                    break;
                default: // tuple and one_of
                    foreach (Space space in Spaces) items.Add(space.Describe());
                    break;
            }
            return items;
        }

        internal static List<object> Sizes(int[] shape)
        {
            var sizes = new List<object>(shape.Length);
            foreach (int size in shape) sizes.Add((long)size);
            return sizes;
        }

        /// <summary>The space of a description; a ProtocolException where it is not sound.</summary>
        internal static Space Parse(object description)
        {
            try
            {
                return Parse(description, 1);
            }
            catch (ArgumentException error)
            {
                throw Unsound(error.Message);
            }
            catch (InvalidCastException)
            {
                throw Unsound("an item is of another type");
            }
        }

        private static Space Parse(object description, int depth)
        {
            var items = description as List<object>;
            if (items == null || items.Count == 0) throw Unsound("it is no array");
            if (depth > Protocol.MaxDepth) throw Unsound("it is nested too deep");
            int kind = Array.IndexOf(kindNames, items[0] as string);
            if (kind < 0) throw Unsound("its kind is not known");
            switch ((SpaceKind)kind)
            {
                case SpaceKind.Box: return ParseBox(Exactly(items, 7));
                case SpaceKind.Discrete:
                    Exactly(items, 4);
                    return Discrete(Number(items[2], 1, long.MaxValue), (long)items[3], Code(items[1], DType.Int8, DType.UInt64));
                case SpaceKind.MultiBinary:
                    int[] shape = ParseShape(Exactly(items, 3)[1]);
                    var binary = MultiBinary(shape);
                    binary.Flat = (bool)items[2];
                    if (binary.Flat && shape.Length != 1) throw Unsound("a flat multi_binary has one size");
                    return binary.Sized();
                case SpaceKind.MultiDiscrete: return ParseMultiDiscrete(Exactly(items, 5));
                case SpaceKind.Text: return ParseText(Exactly(items, 4));
                case SpaceKind.Dict: return ParseDict(items, depth);
                case SpaceKind.Sequence:
                    Exactly(items, 3);
                    return Sequence(Parse(items[1], depth + 1), (bool)items[2]);
                case SpaceKind.Graph:
                    Exactly(items, 3);
                    return Graph(Parse(items[1], depth + 1), items[2] == null ? null : Parse(items[2], depth + 1));
                case SpaceKind.Opaque:
                    Exactly(items, 3);
                    return new Space(SpaceKind.Opaque)
                    {
                        TypeName = Str(items[1]), Representation = Str(items[2])
                    };
                default:
                    var spaces = new Space[items.Count - 1];
                    for (int i = 0; i < spaces.Length; i++) spaces[i] = Parse(items[i + 1], depth + 1);
                    return (SpaceKind)kind == SpaceKind.Tuple ? Tuple(spaces) : OneOf(spaces);
            }
        }

        private static Space ParseBox(List<object> items)
        {
            DType dtype = Code(items[1], DType.Bool, DType.Complex128);
            int[] shape = ParseShape(items[2]);
            var space = new Space(SpaceKind.Box)
            {
                DType = dtype, Shape = shape,
                Low = Bound(items[3], dtype, shape), High = Bound(items[4], dtype, shape),
                BoundedBelow = Bound(items[5], DType.Bool, shape), BoundedAbove = Bound(items[6], DType.Bool, shape)
            };
            return space.Sized();
        }

        private static Space ParseMultiDiscrete(List<object> items)
        {
            DType dtype = Code(items[1], DType.Int8, DType.UInt64);
            int[] shape = ParseShape(items[2]);
            var space = new Space(SpaceKind.MultiDiscrete)
            {
                DType = dtype, Shape = shape, Nvec = Bound(items[3], dtype, shape), Starts = Bound(items[4], dtype, shape)
            };
            return space.Sized();
        }

        private static Space ParseText(List<object> items)
        {
            long least = Number(items[1], 0, long.MaxValue);
            string charset = Str(items[3]);
            var seen = new HashSet<string>(StringComparer.Ordinal);
            for (int i = 0; i < charset.Length; i += char.IsSurrogatePair(charset, i) ? 2 : 1)
            {
                string one = charset.Substring(i, char.IsSurrogatePair(charset, i) ? 2 : 1);
                if (!seen.Add(one)) throw Unsound("a character occurs twice in a charset");
            }
            return new Space(SpaceKind.Text)
            {
                MinLength = least, MaxLength = Number(items[2], least, long.MaxValue), Charset = charset
            };
        }

        private static Space ParseDict(List<object> items, int depth)
        {
            if (items.Count % 2 != 0) throw Unsound("a dict lacks a space");
            var keys = new string[(items.Count - 2) / 2];
            var spaces = new Space[keys.Length];
            for (int i = 0; i < keys.Length; i++)
            {
                keys[i] = Str(items[2 + 2 * i]);
                spaces[i] = Parse(items[3 + 2 * i], depth + 1);
            }
            return DictOf(keys, spaces, (bool)items[1]);
        }

        private static List<object> Exactly(List<object> items, int count)
        {
            if (items.Count != count) throw Unsound("a " + items[0] + " has " + (count - 1) + " further items");
            return items;
        }

        private static string Str(object item)
        {
            var text = item as string;
            if (text == null) throw Unsound("a str is missing");
            return text;
        }

        private static long Number(object item, long least, long most)
        {
            if (!(item is long) || (long)item < least || (long)item > most) throw Unsound("a number is out of its range");
            return (long)item;
        }

        private static DType Code(object item, DType least, DType most)
        {
            return (DType)Number(item, (long)least, (long)most);
        }

        internal static int[] ParseShape(object item)
        {
            var sizes = item as List<object>;
            if (sizes == null || sizes.Count >= Protocol.MaxDimensions) throw Unsound("a shape is none");
            var shape = new int[sizes.Count];
            for (int i = 0; i < shape.Length; i++) shape[i] = (int)Number(sizes[i], 0, Protocol.MaxItems);
            return Checked(shape);
        }

        private static NdArray Bound(object item, DType dtype, int[] shape)
        {
            var array = item as NdArray;
            if (array == null || array.DType != dtype || (array.Rank != 0 && !array.HasShape(shape)))
            {
                throw Unsound("an array of it is not of its dtype and shape");
            }
            return array;
        }

        private static ProtocolException Unsound(string why)
        {
            return new ProtocolException("the description of a space is not sound: " + why);
        }
    }
}
