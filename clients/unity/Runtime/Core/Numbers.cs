using System;

namespace RLay
{
    /// <summary>Numbers in eight bytes with a type code.</summary>
    internal static unsafe class Numbers
    {
        public const uint Int = 64;
        public const uint Float = 65;
        public const uint Bool = 66;

        /// <summary>The type code, and the bits; 0 where the value is no number that fits.</summary>
        public static uint Pack(object value, out ulong bits)
        {
            if (value is double)
            {
                bits = Bits.Of((double)value);
                return Float;
            }
            if (value is float)
            {
                bits = Bits.Of((double)(float)value);
                return Float;
            }
            if (value is long)
            {
                bits = (ulong)(long)value;
                return Int;
            }
            if (value is bool)
            {
                bits = (bool)value ? 1UL : 0UL;
                return Bool;
            }
            if (value is Scalar && ((Scalar)value).DType <= DType.Complex64)
            {
                bits = ((Scalar)value).Low;
                return (uint)((Scalar)value).DType;
            }
            bits = 0;
            if (value == null || value is Enum) return 0;
            switch (Type.GetTypeCode(value.GetType()))
            {
                case TypeCode.SByte:
                case TypeCode.Byte:
                case TypeCode.Int16:
                case TypeCode.UInt16:
                case TypeCode.Int32:
                case TypeCode.UInt32:
                    bits = (ulong)Convert.ToInt64(value);
                    return Int;
                default:
                    return 0;
            }
        }

        /// <summary>The number of a code; false where the code or a bool is not sound.</summary>
        public static bool Unpack(uint code, ulong bits, out object value)
        {
            value = null;
            switch (code)
            {
                case Int:
                    value = (long)bits;
                    return true;
                case Float:
                    value = Bits.ToDouble(bits);
                    return true;
                case Bool:
                    value = bits == 1;
                    return bits <= 1;
            }
            if (code < 1 || code > (uint)DType.Complex64) return false;
            var dtype = (DType)code;
            int size = DTypes.Size(dtype);
            if (size < 8) bits &= (1UL << (8 * size)) - 1;
            if (dtype == DType.Bool && bits > 1) return false;
            value = new Scalar(dtype, bits, 0);
            return true;
        }

        public static bool IsDiscrete(uint code)
        {
            return (code >= 1 && code <= 9) || code == Int || code == Bool;
        }

        public static ulong Load(byte* from)
        {
            return *(ulong*)from;
        }
    }
}
