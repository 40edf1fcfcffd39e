using System;
using System.Collections.Generic;

namespace RLay
{
    public enum SpaceKind
    {
        Box,
        Discrete,
        MultiBinary,
        MultiDiscrete,
        Text,
        Dict,
        Tuple,
        Sequence,
        Graph,
        OneOf,
        /// <summary>Known to its own end only: its values travel, nothing can be checked.</summary>
        Opaque
    }

    /// <summary>A space of Gymnasium, built in code by the methods of this class.</summary>
    public sealed partial class Space
    {
        private static readonly int[] noShape = new int[0];

        private Space(SpaceKind kind)
        {
            Kind = kind;
        }

        public SpaceKind Kind { get; private set; }

        /// <summary>Of the elements of a Box, Discrete, MultiDiscrete or MultiBinary.</summary>
        public DType DType { get; private set; }

        internal int[] Shape = noShape;
        internal Space[] Spaces = new Space[0];
        internal string[] Keys;
        internal NdArray Low, High, BoundedBelow, BoundedAbove;
        internal NdArray Nvec, Starts;
        internal long N;
        internal long Start;
        internal bool Flat;
        internal long MinLength, MaxLength;
        internal string Charset;
        internal bool SortKeys;
        internal bool Stack;
        internal string TypeName, Representation;

        /// <summary>The members of a Dict or Tuple, the choices of a OneOf, and so on.</summary>
        public IList<Space> Members
        {
            get { return Array.AsReadOnly(Spaces); }
        }

        /// <summary>The keys of a Dict, in order; null for other spaces.</summary>
        public IList<string> MemberKeys
        {
            get { return Keys == null ? null : Array.AsReadOnly(Keys); }
        }

        /// <summary>Number of choices of a Discrete.</summary>
        public long Count
        {
            get { return N; }
        }

        public int[] GetShape()
        {
            return (int[])Shape.Clone();
        }

        /// <summary>Number of elements of an array of this space; 1 for a Discrete.</summary>
        public int Size
        {
            get { return (int)NdArray.CountOf(Shape); }
        }

        /// <summary>Whether elements have no fixed size: they travel as values.</summary>
        public bool IsVariable
        {
            get
            {
                return Kind == SpaceKind.Text || Kind == SpaceKind.Sequence || Kind == SpaceKind.Graph
                       || Kind == SpaceKind.OneOf || Kind == SpaceKind.Opaque;
            }
        }

        /// <summary>A Box of float32 with the same bounds for all elements.</summary>
        public static Space Box(double low, double high, params int[] shape)
        {
            return Box(low, high, DType.Float32, shape);
        }

        /// <summary>A Box of any dtype with the same bounds for all elements.</summary>
        public static Space Box(double low, double high, DType dtype, params int[] shape)
        {
            return Box(Uniform(dtype, low), Uniform(dtype, high), shape);
        }

        /// <summary>A Box with bounds of its own for each element.</summary>
        public static Space Box(NdArray low, NdArray high)
        {
            return Box(low, high, low.Shape);
        }

        private static Space Box(NdArray low, NdArray high, int[] shape)
        {
            if (low.DType != high.DType || !low.HasShape(high.RawShape))
            {
                throw new ArgumentException("low is " + low.Describe() + ", high is " + high.Describe());
            }
            var space = new Space(SpaceKind.Box)
            {
                DType = low.DType, Shape = Checked(shape), Low = low, High = high,
                BoundedBelow = Bounded(low, double.NegativeInfinity),
                BoundedAbove = Bounded(high, double.PositiveInfinity)
            };
            return space.Sized();
        }

        /// <summary>The integers from start on, n of them.</summary>
        public static Space Discrete(long n, long start = 0, DType dtype = DType.Int64)
        {
            if (n < 1) throw new ArgumentException("a Discrete has at least one element, not " + n);
            CheckInteger(dtype);
            return new Space(SpaceKind.Discrete) { DType = dtype, N = n, Start = start };
        }

        public static Space MultiBinary(int n)
        {
            return new Space(SpaceKind.MultiBinary) { DType = DType.Int8, Shape = Checked(new[] { n }), Flat = true };
        }

        public static Space MultiBinary(int[] shape)
        {
            return new Space(SpaceKind.MultiBinary) { DType = DType.Int8, Shape = Checked(shape) };
        }

        /// <summary>Several Discrete at once, of so many choices each, in one array of int64.</summary>
        public static Space MultiDiscrete(params long[] nvec)
        {
            return MultiDiscrete(new NdArray(nvec));
        }

        /// <summary>Likewise for any dtype and shape; starts are 0 where they are not given.</summary>
        public static Space MultiDiscrete(NdArray nvec, NdArray starts = null)
        {
            CheckInteger(nvec.DType);
            starts = starts ?? NdArray.Zeros(nvec.DType, nvec.Shape);
            if (starts.DType != nvec.DType || !starts.HasShape(nvec.RawShape))
            {
                throw new ArgumentException("starts are " + starts.Describe() + ", nvec is " + nvec.Describe());
            }
            var space = new Space(SpaceKind.MultiDiscrete)
            {
                DType = nvec.DType, Shape = Checked(nvec.Shape), Nvec = nvec, Starts = starts
            };
            return space.Sized();
        }

        public static Space Text(int maxLength, int minLength = 1,
            string charset = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
        {
            if (minLength < 0 || maxLength < minLength)
            {
                throw new ArgumentException("no text has from " + minLength + " to " + maxLength + " characters");
            }
            return new Space(SpaceKind.Text) { MinLength = minLength, MaxLength = maxLength, Charset = charset };
        }

        /// <summary>Named spaces: key, space, key, space ... in this order.</summary>
        public static Space Dict(params object[] keysAndSpaces)
        {
            if (keysAndSpaces.Length % 2 != 0) throw new ArgumentException("a key lacks its space");
            var keys = new string[keysAndSpaces.Length / 2];
            var spaces = new Space[keys.Length];
            for (int i = 0; i < keys.Length; i++)
            {
                keys[i] = keysAndSpaces[2 * i] as string;
                spaces[i] = keysAndSpaces[2 * i + 1] as Space;
                if (keys[i] == null || spaces[i] == null)
                {
                    throw new ArgumentException("a Dict takes key, space, key, space ...");
                }
            }
            return DictOf(keys, spaces, false);
        }

        internal static Space DictOf(string[] keys, Space[] spaces, bool sortKeys)
        {
            var seen = new HashSet<string>(StringComparer.Ordinal);
            foreach (string key in keys)
            {
                if (!seen.Add(key)) throw new ArgumentException("the key " + key + " occurs twice");
            }
            return new Space(SpaceKind.Dict) { Keys = keys, Spaces = spaces, SortKeys = sortKeys }.Shallow();
        }

        public static Space Tuple(params Space[] spaces)
        {
            return new Space(SpaceKind.Tuple) { Spaces = spaces }.Shallow();
        }

        /// <summary>Any number of elements of a space; stacked, they are one array.</summary>
        public static Space Sequence(Space space, bool stack = false)
        {
            return new Space(SpaceKind.Sequence) { Spaces = new[] { space }, Stack = stack }.Shallow();
        }

        public static Space Graph(Space nodeSpace, Space edgeSpace = null)
        {
            Space[] spaces = edgeSpace == null ? new[] { nodeSpace } : new[] { nodeSpace, edgeSpace };
            return new Space(SpaceKind.Graph) { Spaces = spaces }.Shallow();
        }

        /// <summary>An element of one of the spaces, with its index.</summary>
        public static Space OneOf(params Space[] spaces)
        {
            if (spaces.Length == 0) throw new ArgumentException("a OneOf has at least one space");
            return new Space(SpaceKind.OneOf) { Spaces = spaces }.Shallow();
        }

        private static NdArray Uniform(DType dtype, double value)
        {
            NdArray one = NdArray.Zeros(dtype, new int[0]);
            switch (dtype)
            {
                case DType.Float32: ((float[])one.Data)[0] = (float)value; break;
                case DType.Float64: ((double[])one.Data)[0] = value; break;
                case DType.Bool: ((bool[])one.Data)[0] = value > 0; break;
                case DType.UInt64:
                    ((ulong[])one.Data)[0] = value >= 18446744073709551615.0 ? ulong.MaxValue : (ulong)value;
                    break;
                case DType.Int64:
                    ((long[])one.Data)[0] = value >= 9223372036854775807.0 ? long.MaxValue : (long)value;
                    break;
                default:
                    if (!DTypes.IsInteger(dtype))
                    {
                        throw new ArgumentException("give the bounds of a Box of " + DTypes.Name(dtype) + " as arrays");
                    }
                    one.Data.SetValue(Convert.ChangeType(value, one.Data.GetType().GetElementType()), 0);
                    break;
            }
            return one;
        }

        /// <summary>Which elements are other than an infinity.</summary>
        private static NdArray Bounded(NdArray bounds, double infinity)
        {
            NdArray flags = NdArray.Zeros(DType.Bool, bounds.Shape);
            var bits = (bool[])flags.Data;
            var floats = bounds.DType == DType.Float32 ? (float[])bounds.Data : null;
            var doubles = bounds.DType == DType.Float64 ? (double[])bounds.Data : null;
            ushort infinite = infinity > 0 ? (ushort)0x7C00 : (ushort)0xFC00;
            for (int i = 0; i < bits.Length; i++)
            {
                bits[i] = floats != null ? floats[i] != infinity
                    : doubles != null ? doubles[i] != infinity
                    : bounds.DType != DType.Float16 || ((ushort[])bounds.Data)[i] != infinite;
            }
            return flags;
        }

        private static int[] Checked(int[] shape)
        {
            if (shape.Length >= Protocol.MaxDimensions)
            {
                throw new ArgumentException("a space has at most " + (Protocol.MaxDimensions - 1) + " dimensions");
            }
            NdArray.CountOf(shape);
            return (int[])shape.Clone();
        }

        private static void CheckInteger(DType dtype)
        {
            if (!DTypes.IsInteger(dtype)) throw new ArgumentException("a discrete space is of integers, not " + dtype);
        }

        private Space Sized()
        {
            long count = 1;
            foreach (int size in Shape)
            {
                count *= Math.Max(size, 1);
                if (count * Math.Max(DTypes.Size(DType), 1) > Protocol.MaxSlotPayloadBytes)
                {
                    throw new ArgumentException("an array of a space takes at most 1 GiB");
                }
            }
            return this;
        }

        private Space Shallow()
        {
            if (Depth() > Protocol.MaxDepth) throw new ArgumentException("spaces are nested at most 32 deep");
            return this;
        }

        private int Depth()
        {
            int deepest = 0;
            foreach (Space space in Spaces) deepest = Math.Max(deepest, space.Depth());
            return deepest + 1;
        }

        public override string ToString()
        {
            return Kind + (Kind == SpaceKind.Discrete ? "(" + N + ")"
                : Shape.Length > 0 ? NdArray.TextOf(Shape) : Spaces.Length > 0 ? "(" + Spaces.Length + " spaces)" : "");
        }
    }
}
