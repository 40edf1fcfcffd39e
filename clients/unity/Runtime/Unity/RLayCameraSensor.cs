using UnityEngine;

namespace RLay
{
    /// <summary>What a camera sees, as an observation: uint8 of shape (Height, Width, 3), the top row first.</summary>
    public sealed class RLayCameraSensor : MonoBehaviour
    {
        public Camera Camera;
        public int Width = 84;
        public int Height = 84;

        private RenderTexture target;
        private Texture2D pixels;

        public Space CreateSpace()
        {
            return Space.Box(0, 255, DType.UInt8, Height, Width, 3);
        }

        /// <summary>Renders now; it belongs to the main thread. A player needs a graphics device for it.</summary>
        public NdArray Capture()
        {
            if (target == null)
            {
                target = new RenderTexture(Width, Height, 24);
                pixels = new Texture2D(Width, Height, TextureFormat.RGB24, false);
            }
            RenderTexture before = RenderTexture.active;
            RenderTexture cameraTarget = Camera.targetTexture;
            Camera.targetTexture = target;
            Camera.Render();
            RenderTexture.active = target;
            pixels.ReadPixels(new Rect(0, 0, Width, Height), 0, 0);
            Camera.targetTexture = cameraTarget;
            RenderTexture.active = before;
            return new NdArray(Flipped(pixels.GetRawTextureData()), Height, Width, 3);
        }

        /// <summary>Unity's first row is the lowest one.</summary>
        private byte[] Flipped(byte[] raw)
        {
            int row = 3 * Width;
            var image = new byte[row * Height];
            for (int y = 0; y < Height; y++) System.Buffer.BlockCopy(raw, (Height - 1 - y) * row, image, y * row, row);
            return image;
        }

        private void OnDestroy()
        {
            if (target != null) target.Release();
        }
    }
}
