using System;
using System.Collections;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>Puts an element of a space into a fixed area.</summary>
    internal sealed unsafe class ElementWriter
    {
        private readonly Layout layout;
        private readonly Space space;
        private readonly List<object> variable = new List<object>();
        private byte* area;
        private int next;
        private string misfit;
        private string path;

        public ElementWriter(Layout layout, Space space)
        {
            this.layout = layout;
            this.space = space;
        }

        /// <summary>Why the last element does not fit: a path, what is there and what was promised.</summary>
        public string Misfit { get; private set; }

        /// <summary>The parts of the last element that travel in the tail; null where the space has none.</summary>
        public List<object> Variable
        {
            get { return layout.IsVariable ? variable : null; }
        }

        /// <summary>False where the element has not exactly the types that its space promises.</summary>
        public bool Store(object element, byte* room)
        {
            area = room;
            next = 0;
            variable.Clear();
            if (Store(space, element)) return true;
            Misfit = misfit + ", at $" + path;
            return false;
        }

        /// <summary>Stores one of a batch's own arrays: rewards, flags, masks.</summary>
        public bool StoreExtra(int index, object value, byte* room)
        {
            Leaf leaf = layout.Leaves[layout.OwnLeaves + index];
            NdArray array = AsArray(value, leaf.DType, leaf.Shape);
            if (array != null) Memory.Store(array.Data, room + leaf.Offset);
            return array != null;
        }

        private bool Store(Space part, object value)
        {
            switch (part.Kind)
            {
                case SpaceKind.Dict: return StoreDict(part, value);
                case SpaceKind.Tuple:
                    IList items = AsList(value);
                    if (items == null || items.Count != part.Spaces.Length)
                    {
                        return Refuse(value, "a tuple of " + part.Spaces.Length);
                    }
                    for (int i = 0; i < items.Count; i++)
                    {
                        if (!Store(part.Spaces[i], items[i])) return Within("[" + i + "]");
                    }
                    return true;
                case SpaceKind.Discrete:
                    if (layout.Lanes == 0) return StoreNumber(part, value);
                    break;
                case SpaceKind.Box:
                case SpaceKind.MultiBinary:
                case SpaceKind.MultiDiscrete:
                    break;
                default:
                    object form;
                    if (!Forms.Take(part, value, layout.Lanes > 0, out form)) return Refuse(value, "an element of " + part);
                    variable.Add(form);
                    return true;
            }
            Leaf leaf = layout.Leaves[next];
            NdArray array = AsArray(value, leaf.DType, leaf.Shape);
            if (array == null) return Refuse(value, DTypes.Name(leaf.DType) + " " + NdArray.TextOf(leaf.Shape));
            Memory.Store(array.Data, area + leaf.Offset);
            next++;
            return true;
        }

        private bool StoreDict(Space part, object value)
        {
            var map = value as Map;
            var dictionary = value as IDictionary<string, object>;
            int count = map != null ? map.Count : dictionary != null ? dictionary.Count : -1;
            if (count != part.Keys.Length) return Refuse(value, "a dict of " + part.Keys.Length + " keys");
            for (int i = 0; i < part.Keys.Length; i++)
            {
                object member;
                string key = part.Keys[i];
                bool found = map != null ? map.TryGetValue(key, out member) : dictionary.TryGetValue(key, out member);
                if (!found) return Refuse(value, "a dict with the key " + key);
                if (!Store(part.Spaces[i], member)) return Within("." + key);
            }
            return true;
        }

        private bool StoreNumber(Space part, object value)
        {
            ulong bits;
            uint code = Numbers.Pack(value, out bits);
            if (!Numbers.IsDiscrete(code)) return Refuse(value, "an integer");
            byte* cell = area + layout.Leaves[next].Offset;
            *(ulong*)cell = bits;
            *(ulong*)(cell + 8) = code;
            next++;
            return true;
        }

        private bool Refuse(object value, string promised)
        {
            misfit = "expected " + promised + ", got " + Forms.Describe(value);
            path = "";
            return false;
        }

        /// <summary>Only what does not fit needs a path, so it is put together on the way back.</summary>
        private bool Within(string step)
        {
            path = step + path;
            return false;
        }

        internal static IList AsList(object value)
        {
            var tuple = value as TupleValue;
            return tuple != null ? tuple.Items : value as IList;
        }

        /// <summary>An array of exactly this dtype and shape; a plain array of C# takes the shape on.</summary>
        internal static NdArray AsArray(object value, DType dtype, int[] shape)
        {
            var array = value as NdArray;
            if (array != null) return array.DType == dtype && array.HasShape(shape) ? array : null;
            var plain = value as Array;
            if (plain == null || plain.Rank != 1 || !DTypes.Fits(dtype, plain)) return null;
            if (Buffer.ByteLength(plain) != NdArray.CountOf(shape) * DTypes.Size(dtype)) return null;
            return new NdArray(dtype, plain, shape);
        }
    }

    /// <summary>The form of values that travel whole: texts, sequences, graphs, choices.</summary>
    internal static class Forms
    {
        /// <summary>The value as it is sent; false where it has not the form of its space.</summary>
        public static bool Take(Space space, object value, bool batched, out object form)
        {
            form = value;
            if (batched || space.Kind == SpaceKind.Opaque) return true;
            IList items;
            switch (space.Kind)
            {
                case SpaceKind.Text:
                    return value is string;
                case SpaceKind.Discrete:
                    ulong bits;
                    return Numbers.IsDiscrete(Numbers.Pack(value, out bits));
                case SpaceKind.Dict: return TakeDict(space, value, out form);
                case SpaceKind.Tuple:
                    items = ElementWriter.AsList(value);
                    return items != null && items.Count == space.Spaces.Length && TakeAll(space, items, out form);
                case SpaceKind.Sequence:
                    if (space.Stack) return value != null;
                    items = ElementWriter.AsList(value);
                    return items != null && TakeAll(space, items, out form);
                case SpaceKind.OneOf:
                    items = ElementWriter.AsList(value);
                    if (items == null || items.Count != 2) return false;
                    ulong index;
                    if (!Numbers.IsDiscrete(Numbers.Pack(items[0], out index)) || index >= (ulong)space.Spaces.Length) return false;
                    object chosen;
                    if (!Take(space.Spaces[(int)index], items[1], false, out chosen)) return false;
                    form = new TupleValue(items[0], chosen);
                    return true;
                case SpaceKind.Graph:
                    return value is GraphValue;
                default:
                    // A NumPy scalar is what some libraries make of an array of no dimensions.
                    if (value is Scalar && space.Shape.Length == 0 && ((Scalar)value).DType == space.DType) return true;
                    form = ElementWriter.AsArray(value, space.DType, space.Shape);
                    return form != null;
            }
        }

        private static bool TakeDict(Space space, object value, out object form)
        {
            form = null;
            var map = value as Map;
            if (map == null || map.Count != space.Keys.Length) return false;
            var taken = new Map();
            for (int i = 0; i < space.Keys.Length; i++)
            {
                object member;
                if (!map.TryGetValue(space.Keys[i], out member)) return false;
                if (!Take(space.Spaces[i], member, false, out member)) return false;
                taken.Add(space.Keys[i], member);
            }
            form = taken;
            return true;
        }

        private static bool TakeAll(Space space, IList items, out object form)
        {
            var taken = new List<object>(items.Count);
            form = null;
            for (int i = 0; i < items.Count; i++)
            {
                object item;
                if (!Take(space.Spaces[space.Kind == SpaceKind.Tuple ? i : 0], items[i], false, out item)) return false;
                taken.Add(item);
            }
            form = new TupleValue(taken);
            return true;
        }

        public static string Describe(object value)
        {
            var array = value as NdArray;
            if (array != null) return array.Describe();
            var plain = value as Array;
            return value == null ? "null" : plain != null ? "an array of C# with " + plain.Length + " elements"
                : "a value of " + value.GetType().Name;
        }
    }

    /// <summary>Reads an element of a space out of a fixed area.</summary>
    internal unsafe struct ElementReader
    {
        private readonly Layout layout;
        private readonly byte* area;
        private readonly List<object> variable;
        private int nextLeaf;
        private int nextVariable;

        public ElementReader(Layout layout, byte* area, List<object> variable)
        {
            this.layout = layout;
            this.area = area;
            this.variable = variable;
            nextLeaf = 0;
            nextVariable = 0;
        }

        /// <summary>The element whose parts lie in a message's area and in the first item of its tail.</summary>
        public static object Load(Layout layout, Space space, Message message, object variable)
        {
            if (message.Size < layout.Bytes) throw new ProtocolException("a message is shorter than its fixed area");
            var parts = variable as List<object>;
            if (variable != null && parts == null) throw new ProtocolException("the variable parts are no array");
            if (layout.IsVariable && parts == null) throw new ProtocolException("the variable parts are missing");
            var reader = new ElementReader(layout, message.Payload, parts);
            object element = reader.Read(space);
            if (parts != null && reader.nextVariable != parts.Count) throw new ProtocolException("there are too many variable parts");
            return element;
        }

        /// <summary>One of a batch's own arrays.</summary>
        public static NdArray LoadExtra(Layout layout, int index, Message message)
        {
            if (message.Size < layout.Bytes) throw new ProtocolException("a message is shorter than its fixed area");
            return new ElementReader(layout, message.Payload, null).ReadArray(layout.Leaves[layout.OwnLeaves + index]);
        }

        private object Read(Space space)
        {
            switch (space.Kind)
            {
                case SpaceKind.Dict:
                    var map = new Map();
                    for (int i = 0; i < space.Keys.Length; i++) map.Add(space.Keys[i], Read(space.Spaces[i]));
                    return map;
                case SpaceKind.Tuple:
                    var items = new List<object>(space.Spaces.Length);
                    foreach (Space member in space.Spaces) items.Add(Read(member));
                    return new TupleValue(items);
                case SpaceKind.Discrete:
                    if (layout.Lanes > 0) return ReadArray(layout.Leaves[nextLeaf++]);
                    byte* cell = area + layout.Leaves[nextLeaf++].Offset;
                    object number;
                    uint code = *(uint*)(cell + 8);
                    if (!Numbers.IsDiscrete(code) || !Numbers.Unpack(code, Numbers.Load(cell), out number))
                    {
                        throw new ProtocolException("a number cell has type code " + code);
                    }
                    return number;
                case SpaceKind.Box:
                case SpaceKind.MultiBinary:
                case SpaceKind.MultiDiscrete:
                    return ReadArray(layout.Leaves[nextLeaf++]);
                default:
                    if (nextVariable >= variable.Count) throw new ProtocolException("a variable part is missing");
                    return variable[nextVariable++];
            }
        }

        private NdArray ReadArray(Leaf leaf)
        {
            Array data = DTypes.NewArray(leaf.DType, NdArray.CountOf(leaf.Shape));
            if (!Memory.Load(area + leaf.Offset, data)) throw new ProtocolException("a bool is neither 0 nor 1");
            return new NdArray(leaf.DType, data, leaf.Shape);
        }
    }
}
