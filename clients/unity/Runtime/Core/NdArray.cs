using System;
using System.Text;

namespace RLay
{
    /// <summary>An array of numbers with a dtype and a shape, in C order.</summary>
    public sealed class NdArray
    {
        private readonly int[] shape;

        /// <summary>Takes over an array of C#; the shape is its length where none is given.</summary>
        public NdArray(Array data, params int[] shape) : this(DTypes.Of(data), data, Shaped(data, shape)) { }

        /// <summary>Likewise for a dtype that C# has no type for: Float16 and the complex ones.</summary>
        public NdArray(DType dtype, Array data, int[] shape)
        {
            if (!DTypes.Fits(dtype, data))
            {
                throw new ArgumentException("an array of " + data.GetType().GetElementType()
                                            + " holds no " + DTypes.Name(dtype));
            }
            if (shape.Length > Protocol.MaxDimensions)
            {
                throw new ArgumentException("an array has at most " + Protocol.MaxDimensions + " dimensions");
            }
            long count = CountOf(shape);
            if (count * DTypes.Size(dtype) != Buffer.ByteLength(data))
            {
                throw new ArgumentException("a shape of " + TextOf(shape) + " is not that of "
                                            + Buffer.ByteLength(data) + " bytes of " + DTypes.Name(dtype));
            }
            DType = dtype;
            Data = data;
            this.shape = (int[])shape.Clone();
        }

        public DType DType { get; private set; }

        /// <summary>The elements: float[] for Float32 and so on, as DType says.</summary>
        public Array Data { get; private set; }

        public int[] Shape
        {
            get { return (int[])shape.Clone(); }
        }

        public int Rank
        {
            get { return shape.Length; }
        }

        /// <summary>Number of elements.</summary>
        public int Count
        {
            get { return (int)CountOf(shape); }
        }

        /// <summary>A new array of zeros.</summary>
        public static NdArray Zeros(DType dtype, params int[] shape)
        {
            return new NdArray(dtype, DTypes.NewArray(dtype, CountOf(shape)), shape);
        }

        internal int[] RawShape
        {
            get { return shape; }
        }

        internal int ByteLength
        {
            get { return Buffer.ByteLength(Data); }
        }

        internal bool HasShape(int[] other)
        {
            return SameShape(shape, other);
        }

        internal static bool SameShape(int[] one, int[] other)
        {
            if (one.Length != other.Length) return false;
            for (int i = 0; i < one.Length; i++)
            {
                if (one[i] != other[i]) return false;
            }
            return true;
        }

        /// <summary>Number of elements; throws where it exceeds what an array may have.</summary>
        internal static long CountOf(int[] shape)
        {
            long count = 1;
            bool empty = false;
            foreach (int size in shape)
            {
                if (size < 0) throw new ArgumentException("a size is negative: " + TextOf(shape));
                empty |= size == 0;
                if (empty) continue;
                count *= size;
                if (count > Protocol.MaxItems) throw new ArgumentException("too many elements: " + TextOf(shape));
            }
            return empty ? 0 : count;
        }

        internal static string TextOf(int[] shape)
        {
            var text = new StringBuilder("(");
            for (int i = 0; i < shape.Length; i++)
            {
                text.Append(i == 0 ? "" : ", ").Append(shape[i]);
            }
            return text.Append(shape.Length == 1 ? ",)" : ")").ToString();
        }

        internal string Describe()
        {
            return DTypes.Name(DType) + " " + TextOf(shape);
        }

        private static int[] Shaped(Array data, int[] shape)
        {
            return shape.Length > 0 ? shape : new[] { data.Length };
        }

        public override string ToString()
        {
            return "NdArray " + Describe();
        }
    }
}
