package org.example.saliency // your app's

import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.Color
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.LiteRtException
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min
import kotlin.math.roundToInt

/**
 * Predicts where people look in an image, with a keras-salnet model from the app's assets.
 *
 * Not thread-safe. [height] and [width] are the model's input size, by default that of `fast`.
 */
class Saliency(
    private val assets: AssetManager,
    private val asset: String = "fast.tflite",
    val height: Int = 256,
    val width: Int = 320,
    accelerators: List<Accelerator> = listOf(Accelerator.GPU, Accelerator.CPU)
) : AutoCloseable {

    /** A model on one accelerator, with its input and output buffers. */
    private inner class Runner(val accelerator: Accelerator) : AutoCloseable {
        private val model =
            CompiledModel.create(assets, asset, CompiledModel.Options(accelerator))
        private val inputs = model.createInputBuffers("serving_default")
        private val outputs = model.createOutputBuffers("serving_default")

        fun run(pixels: FloatArray): FloatArray {
            inputs[0].writeFloat(pixels)
            model.run(inputs, outputs, "serving_default")
            return outputs[0].readFloat()
        }

        override fun close() {
            (inputs + outputs).forEach { it.close() }
            model.close()
        }
    }

    private val runner = firstThatWorks(accelerators)

    /** The accelerator in use: the first of those requested that works on this device. */
    val accelerator: Accelerator
        get() = runner.accelerator

    // Try one after the other: given [GPU, CPU], LiteRT does not tell which one it chose.
    private fun firstThatWorks(accelerators: List<Accelerator>): Runner {
        var failure: LiteRtException? = null
        for (accelerator in accelerators) {
            try {
                val runner = Runner(accelerator)
                try {
                    runner.run(FloatArray(height * width * 3)) // some GPUs fail only here
                    return runner
                } catch (exception: LiteRtException) {
                    runner.close()
                    throw exception
                }
            } catch (exception: LiteRtException) {
                failure = exception
            }
        }
        throw IllegalStateException(
            "$asset: runs on none of $accelerators with a frame of $height x $width", failure
        )
    }

    /** The map of an image: [height] rows of [width] values in 0…1, with maximum 1. */
    fun predict(image: Bitmap): FloatArray {
        val map = runner.run(frame(image))
        var peak = 0f
        for (value in map) peak = max(peak, value)
        return if (peak > 0) FloatArray(map.size) { map[it] / peak } else map
    }

    /**
     * The map in colour, transparent where nobody looks: show it stretched over the image.
     *
     * The opacity keeps weaker regions visible.
     */
    fun heatMap(image: Bitmap, opacity: Float = 0.6f): Bitmap {
        val map = predict(image)
        val colors = IntArray(map.size) { color(map[it], opacity * map[it] * (2 - map[it])) }
        return Bitmap.createBitmap(colors, width, height, Bitmap.Config.ARGB_8888)
    }

    /** An image as model input: stretched to the input size; rows of RGB, 0…255. */
    fun frame(image: Bitmap): FloatArray {
        // Other configurations have fewer than 8 bits per channel or cannot be read.
        val source =
            if (image.config == Bitmap.Config.ARGB_8888) image
            else image.copy(Bitmap.Config.ARGB_8888, false)
        val rows = Taps(source.height, height)
        val columns = Taps(source.width, width)
        val pixels = IntArray(source.width)
        // Row by row, since a whole photograph takes much memory. The next row of the result reuses
        // at most the last two rows of the image.
        val lines = Array(2) { FloatArray(width * 3) }
        val held = intArrayOf(-1, -1)
        val result = FloatArray(height * width * 3)
        for (row in 0 until height) {
            for ((tap, weight) in rows.weights[row].withIndex()) {
                val y = rows.first[row] + tap
                val line = lines[y % 2]
                if (held[y % 2] != y) {
                    source.getPixels(pixels, 0, source.width, 0, y, source.width, 1)
                    shrinkOrGrow(pixels, columns, line)
                    held[y % 2] = y
                }
                val start = row * width * 3
                for (index in line.indices) result[start + index] += weight * line[index]
            }
        }
        return result
    }

    override fun close() = runner.close()
}

/** ARGB integers of one row → R, G, B, R, G, B… at the input width. */
private fun shrinkOrGrow(pixels: IntArray, columns: Taps, line: FloatArray) {
    for (column in columns.first.indices) {
        var red = 0f
        var green = 0f
        var blue = 0f
        for ((tap, weight) in columns.weights[column].withIndex()) {
            val pixel = pixels[columns.first[column] + tap]
            red += weight * (pixel shr 16 and 255)
            green += weight * (pixel shr 8 and 255)
            blue += weight * (pixel and 255)
        }
        line[3 * column] = red
        line[3 * column + 1] = green
        line[3 * column + 2] = blue
    }
}

/**
 * For each of `target` pixels, the weights of the `source` pixels from `first` on; they sum to 1.
 *
 * Area averaging to shrink, bilinear interpolation to enlarge, as in keras-salnet.
 */
private class Taps(source: Int, target: Int) {
    val first = IntArray(target)
    val weights: Array<FloatArray>

    init {
        val scale = source.toDouble() / target
        weights = Array(target) { index ->
            if (target <= source) {
                val begin = index * scale
                val end = min((index + 1) * scale, source.toDouble())
                first[index] = begin.toInt()
                FloatArray(ceil(end).toInt() - first[index]) {
                    val pixel = first[index] + it
                    ((min(end, pixel + 1.0) - max(begin, pixel.toDouble())) / scale).toFloat()
                }
            } else {
                // Pixel centres are at halves; beyond the outermost, the border pixel is repeated.
                val place = ((index + 0.5) * scale - 0.5).coerceIn(0.0, source - 1.0)
                first[index] = place.toInt()
                val part = (place - first[index]).toFloat()
                if (part == 0f) floatArrayOf(1f) else floatArrayOf(1 - part, part)
            }
        }
    }
}

// The colour map "inferno" at equal steps.
private val INFERNO = intArrayOf(
    0x000004, 0x210c4a, 0x57106e, 0x8a226a, 0xbc3754, 0xe35933, 0xf98c0a, 0xf9c932, 0xfcffa4
)

private fun color(value: Float, opacity: Float): Int {
    val place = value * (INFERNO.size - 1)
    val step = min(place.toInt(), INFERNO.size - 2)
    val (low, high) = listOf(INFERNO[step], INFERNO[step + 1])
    fun mixed(shift: Int): Int {
        val from = low shr shift and 255
        return (from + (place - step) * ((high shr shift and 255) - from)).roundToInt()
    }
    return Color.argb((opacity * 255).roundToInt(), mixed(16), mixed(8), mixed(0))
}
